# SPDX-License-Identifier: Apache-2.0
"""FlashMorph hybrids in transformers 5: a pretrained decoder in which some layers keep full attention and the others use
lightning attention, a linear recurrence with one fixed decay a head.

    S_t = exp(-slope) S_{t-1} + k_t v_t^T        o_t = scale q_t S_t
    y_t = o_proj(RMSNorm(o_t) * sigmoid(z_proj(x_t)))

Plain PyTorch, in chunks; flash-linear-attention's kernel is used on CUDA devices when it is installed.
"""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn
from transformers.activations import ACT2FN
from transformers.cache_utils import Cache, DynamicCache
from transformers.generation import GenerationMixin
from transformers.masking_utils import create_causal_mask
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutputWithPast, CausalLMOutputWithPast
from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS, dynamic_rope_update
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS, PreTrainedModel

from .configuration_flashmorph import FlashMorphConfig

CHUNK = 64


def lightning_chunks(q, k, v, log_decay, state=None):
    """o_t = q_t S_t, S_t = exp(log_decay) S_{t-1} + k_t v_t^T, in float32; every exponent is at most 0.

    q, k, v: [B, H, T, d]; log_decay: [H], at most 0; state: [B, H, d, d] or None.
    Returns o: [B, H, T, d] float32, and the last state.
    """
    q, k, v = q.float(), k.float(), v.float()
    B, H, T, d = q.shape
    if state is None:
        state = q.new_zeros(B, H, d, v.shape[-1])
    a = log_decay.float().view(H, 1, 1)
    outputs = []
    for first in range(0, T, CHUNK):
        qc, kc, vc = (x[:, :, first : first + CHUNK] for x in (q, k, v))
        n = qc.shape[2]
        i = torch.arange(n, device=q.device, dtype=torch.float32)
        distance = i[:, None] - i[None, :]
        decay = torch.where(distance >= 0, torch.exp(a * distance.clamp(min=0)), 0.0)
        o = ((qc @ kc.transpose(-1, -2)) * decay) @ vc
        o = o + (qc * torch.exp(a * (i + 1)[:, None])) @ state
        state = torch.exp(a * n) * state + (kc * torch.exp(a * (n - 1 - i)[:, None])).transpose(-1, -2) @ vc
        outputs.append(o)
    return torch.cat(outputs, 2), state


def fla_lightning(q, k, v, log_decay, state):
    """The same by flash-linear-attention's kernel; None when it cannot be used here."""
    if not q.is_cuda:
        return None
    try:
        from fla.ops.simple_gla import chunk_simple_gla
    except Exception:
        return None
    rows = [x.transpose(1, 2).contiguous() for x in (q, k, v)]
    o, state = chunk_simple_gla(
        *rows, g_gamma=log_decay.float(), scale=1.0, initial_state=state, output_final_state=True
    )
    return o.transpose(1, 2), state


def lightning(q, k, v, log_decay, state=None):
    """lightning_chunks, faster where it can be: one token at a time, or by fla's kernel in low precision on CUDA."""
    if q.shape[2] == 1 and state is not None:
        q, k, v = q.float(), k.float(), v.float()
        state = torch.exp(log_decay.float()).view(-1, 1, 1) * state + k.transpose(-1, -2) @ v
        return q @ state, state
    fast = fla_lightning(q, k, v, log_decay, state) if q.dtype != torch.float32 else None
    return fast if fast is not None else lightning_chunks(q, k, v, log_decay, state)


class FlashMorphRMSNorm(nn.Module):
    def __init__(self, size, eps):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))
        self.eps = eps

    def forward(self, x):
        wide = x.float()
        wide = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + self.eps)
        return self.weight * wide.to(x.dtype)


class FlashMorphRotaryEmbedding(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.max_seq_len_cached = config.max_position_embeddings
        self.original_max_seq_len = config.max_position_embeddings
        self.rope_type = config.rope_parameters["rope_type"]
        init = ROPE_INIT_FUNCTIONS[self.rope_type] if self.rope_type != "default" else self.compute_default_rope_parameters
        inv_freq, self.attention_scaling = init(config, None)
        if config.rope_freq_factors is not None:
            inv_freq = inv_freq / torch.tensor(config.rope_freq_factors, dtype=torch.float32)
        self.register_buffer("inv_freq", inv_freq, persistent=False)
        self.register_buffer("original_inv_freq", inv_freq.clone(), persistent=False)

    @staticmethod
    def compute_default_rope_parameters(config, device=None, **kwargs):
        exponents = torch.arange(0, config.head_dim, 2, dtype=torch.float) / config.head_dim
        inv_freq = 1.0 / (config.rope_parameters["rope_theta"] ** exponents)
        return inv_freq.to(device), 1.0

    @torch.no_grad()
    @dynamic_rope_update
    def forward(self, x, position_ids):
        angles = position_ids[:, :, None].float() * self.inv_freq.float().to(x.device)[None, None, :]
        angles = torch.cat((angles, angles), -1)
        cos, sin = angles.cos() * self.attention_scaling, angles.sin() * self.attention_scaling
        return cos.to(x.dtype), sin.to(x.dtype)


def rotate(x, cos, sin):
    """x: [B, H, T, d]; cos, sin: [B, T, d]."""
    half = x.shape[-1] // 2
    turned = torch.cat((-x[..., half:], x[..., :half]), -1)
    return x * cos.unsqueeze(1) + turned * sin.unsqueeze(1)


def eager_attention_forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **kwargs):
    key = key.repeat_interleave(module.num_key_value_groups, 1)
    value = value.repeat_interleave(module.num_key_value_groups, 1)
    weights = query @ key.transpose(2, 3) * scaling
    if attention_mask is not None:
        weights = weights + attention_mask
    weights = F.softmax(weights, dim=-1, dtype=torch.float32).to(query.dtype)
    weights = F.dropout(weights, p=dropout, training=module.training)
    return (weights @ value).transpose(1, 2).contiguous(), weights


class FlashMorphAttention(nn.Module):
    """Full attention, as the teacher has it."""

    def __init__(self, config, layer_idx):
        super().__init__()
        self.config, self.layer_idx, self.head_dim = config, layer_idx, config.head_dim
        self.num_key_value_groups = config.num_attention_heads // config.num_key_value_heads
        self.scaling = self.head_dim**-0.5
        self.attention_dropout = config.attention_dropout
        self.is_causal = True
        wide, narrow = config.num_attention_heads * self.head_dim, config.num_key_value_heads * self.head_dim
        self.q_proj = nn.Linear(config.hidden_size, wide, bias=config.qkv_bias)
        self.k_proj = nn.Linear(config.hidden_size, narrow, bias=config.qkv_bias)
        self.v_proj = nn.Linear(config.hidden_size, narrow, bias=config.qkv_bias)
        self.o_proj = nn.Linear(wide, config.hidden_size, bias=config.attention_o_bias)
        if config.qk_norm:
            self.q_norm = FlashMorphRMSNorm(self.head_dim, config.rms_norm_eps)
            self.k_norm = FlashMorphRMSNorm(self.head_dim, config.rms_norm_eps)
        if config.attn_use_output_gate:
            self.o_gate = nn.Linear(config.hidden_size, wide, bias=False)
        self.logits_base = None
        if config.attn_logits_scaling:
            word, base = config.attn_logits_scaling.split()
            if word != "hype":
                raise ValueError(f'attn_logits_scaling "{config.attn_logits_scaling}" is unknown')
            self.logits_base = float(base)

    def forward(self, x, cos, sin, position_ids, attention_mask, past_key_values, **kwargs):
        B, T = x.shape[:2]
        q, k, v = (p(x).view(B, T, -1, self.head_dim) for p in (self.q_proj, self.k_proj, self.v_proj))
        if self.config.qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        if self.config.attn_use_rope:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if self.logits_base is not None:
            factor = torch.log(position_ids.float() + self.logits_base) / math.log(self.logits_base)
            q = q * factor[:, None, :, None].to(q.dtype)
        if past_key_values is not None:
            k, v = past_key_values.update(k, v, self.layer_idx)
        attend: Callable = ALL_ATTENTION_FUNCTIONS.get_interface(self.config._attn_implementation, eager_attention_forward)
        dropout = self.attention_dropout if self.training else 0.0
        o, _ = attend(self, q, k, v, attention_mask, dropout=dropout, scaling=self.scaling, **kwargs)
        o = o.reshape(B, T, -1)
        if self.config.attn_use_output_gate:
            o = o * torch.sigmoid(self.o_gate(x))
        return self.o_proj(o.contiguous())


class FlashMorphLightning(nn.Module):
    """Lightning attention: a linear recurrence with a fixed decay for each head."""

    def __init__(self, config, layer_idx):
        super().__init__()
        self.config, self.layer_idx, self.head_dim = config, layer_idx, config.lightning_head_dim
        self.heads, self.kv_heads = config.lightning_nh, config.lightning_nkv
        wide, narrow, bias = self.heads * self.head_dim, self.kv_heads * self.head_dim, config.lightning_use_qkv_bias
        self.q_proj = nn.Linear(config.hidden_size, wide, bias=bias)
        self.k_proj = nn.Linear(config.hidden_size, narrow, bias=bias)
        self.v_proj = nn.Linear(config.hidden_size, narrow, bias=bias)
        self.o_proj = nn.Linear(wide, config.hidden_size, bias=False)
        if config.lightning_use_qk_norm:
            self.q_norm = FlashMorphRMSNorm(self.head_dim, config.rms_norm_eps)
            self.k_norm = FlashMorphRMSNorm(self.head_dim, config.rms_norm_eps)
        if config.lightning_use_output_norm:
            self.o_norm = FlashMorphRMSNorm(wide, config.rms_norm_eps)
        if config.lightning_use_output_gate:
            self.z_proj = nn.Linear(config.hidden_size, wide, bias=False)
        if config.lightning_use_short_conv:
            for name, rows in (("q", wide), ("k", narrow), ("v", narrow)):
                conv = nn.Conv1d(rows, rows, config.lightning_conv_size, groups=rows, bias=False)
                setattr(self, f"{name}_conv1d", conv)
        slopes = config.lightning_slopes
        self.slopes = list(slopes[layer_idx] if isinstance(slopes[0], (list, tuple)) else slopes)
        d = self.head_dim
        self.scale = {"1/sqrt(d)": d**-0.5, "1/d": 1.0 / d}.get(config.lightning_scale, 1.0)

    def convolve(self, q, k, v, past_key_values):
        # one state for all three: the cache keeps the last inputs
        T, width = q.shape[1], self.config.lightning_conv_size
        x = torch.cat((q, k, v), -1).transpose(1, 2)
        if past_key_values is not None:
            x = past_key_values.update_conv_state(x, self.layer_idx, conv_kernel_size=width)
        weight = torch.cat([getattr(self, f"{n}_conv1d").weight for n in "qkv"])
        x = F.conv1d(F.pad(x, (width - 1, 0)), weight, groups=x.shape[1])[..., -T:].transpose(1, 2)
        return x.split([q.shape[-1], k.shape[-1], v.shape[-1]], -1)

    def forward(self, x, cos, sin, mask, past_key_values):
        B, T = x.shape[:2]
        config = self.config
        q, k, v = self.q_proj(x), self.k_proj(x), self.v_proj(x)
        if config.lightning_use_short_conv:
            if mask is not None:  # padding counts as no token at all
                q, k, v = (y * mask[:, :, None].to(y.dtype) for y in (q, k, v))
            q, k, v = self.convolve(q, k, v, past_key_values)
        if config.lightning_use_silu:
            q, k, v = F.silu(q), F.silu(k), F.silu(v)
        q, k, v = (y.reshape(B, T, -1, self.head_dim) for y in (q, k, v))
        if config.lightning_use_qk_norm:
            q, k = self.q_norm(q), self.k_norm(k)
        q, k, v = (y.transpose(1, 2) for y in (q, k, v))
        if config.lightning_use_rope:
            q, k = rotate(q, cos, sin), rotate(k, cos, sin)
        if mask is not None:
            k = k * mask[:, None, :, None].to(k.dtype)
        groups = self.heads // self.kv_heads
        if groups > 1:
            k, v = k.repeat_interleave(groups, 1), v.repeat_interleave(groups, 1)
        state = None
        if past_key_values is not None:
            layer = past_key_values.layers[self.layer_idx]
            if layer.is_recurrent_states_initialized[0]:
                state = layer.recurrent_states[0]
        log_decay = -torch.tensor(self.slopes, dtype=torch.float32, device=x.device)
        o, state = lightning(q * self.scale, k, v, log_decay, state)
        if past_key_values is not None:
            past_key_values.update_recurrent_state(state, self.layer_idx)
        o = o.to(x.dtype).transpose(1, 2).reshape(B, T, -1)
        if config.lightning_use_output_norm:
            o = self.o_norm(o)
        if config.lightning_use_output_gate:
            o = o * torch.sigmoid(self.z_proj(x))
        return self.o_proj(o)


class FlashMorphMLP(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=config.mlp_bias)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=config.mlp_bias)
        self.act_fn = ACT2FN[config.hidden_act]

    def forward(self, x):
        return self.down_proj(self.act_fn(self.gate_proj(x)) * self.up_proj(x))


class FlashMorphDecoderLayer(GradientCheckpointingLayer):
    def __init__(self, config, layer_idx):
        super().__init__()
        self.is_full = config.mixer_types[layer_idx] == "attn"
        self.self_attn = (FlashMorphAttention if self.is_full else FlashMorphLightning)(config, layer_idx)
        self.mlp = FlashMorphMLP(config)
        self.input_layernorm = FlashMorphRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.post_attention_layernorm = FlashMorphRMSNorm(config.hidden_size, config.rms_norm_eps)

    def forward(self, x, cos, sin, position_ids, causal_mask, padding_mask, past_key_values, **kwargs):
        u = self.input_layernorm(x)
        if self.is_full:
            x = x + self.self_attn(u, cos, sin, position_ids, causal_mask, past_key_values, **kwargs)
        else:
            x = x + self.self_attn(u, cos, sin, padding_mask, past_key_values)
        return x + self.mlp(self.post_attention_layernorm(x))


class FlashMorphPreTrainedModel(PreTrainedModel):
    config_class = FlashMorphConfig
    base_model_prefix = "model"
    supports_gradient_checkpointing = True
    _no_split_modules = ["FlashMorphDecoderLayer"]
    _skip_keys_device_placement = ["past_key_values"]
    _supports_flash_attn = True
    _supports_sdpa = True
    _supports_attention_backend = True
    _is_stateful = True

    def _init_weights(self, module):
        super()._init_weights(module)
        if isinstance(module, FlashMorphRotaryEmbedding) and module.config.rope_freq_factors is not None:
            factors = torch.tensor(module.config.rope_freq_factors, dtype=torch.float32, device=module.inv_freq.device)
            module.inv_freq.div_(factors)  # the base class has just filled it in again without them
            module.original_inv_freq.copy_(module.inv_freq)


class FlashMorphModel(FlashMorphPreTrainedModel):
    def __init__(self, config):
        super().__init__(config)
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList([FlashMorphDecoderLayer(config, i) for i in range(config.num_hidden_layers)])
        self.norm = FlashMorphRMSNorm(config.hidden_size, config.rms_norm_eps)
        self.rotary_emb = FlashMorphRotaryEmbedding(config)
        self.gradient_checkpointing = False
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values: Cache | None = None,
        inputs_embeds=None,
        use_cache=None,
        output_hidden_states=None,
        **kwargs,
    ):
        if (input_ids is None) == (inputs_embeds is None):
            raise ValueError("give exactly one of input_ids and inputs_embeds")
        x = self.embed_tokens(input_ids) if inputs_embeds is None else inputs_embeds
        use_cache = self.config.use_cache if use_cache is None else use_cache
        if use_cache and past_key_values is None:
            past_key_values = DynamicCache(config=self.config)
        if not use_cache:
            past_key_values = None
        T = x.shape[1]
        padding = attention_mask if attention_mask is not None and attention_mask.ndim == 2 else None
        if position_ids is None:
            if padding is not None:
                position_ids = (padding.long().cumsum(-1) - 1).clamp(min=0)[:, -T:]
            else:
                past = past_key_values.get_seq_length() if past_key_values is not None else 0
                position_ids = torch.arange(past, past + T, device=x.device)[None]
        causal_mask = attention_mask
        if not isinstance(attention_mask, dict):
            causal_mask = create_causal_mask(
                config=self.config,
                inputs_embeds=x,
                attention_mask=attention_mask,
                past_key_values=past_key_values,
                position_ids=position_ids,
            )
        else:  # prepared by generate, for static caches
            causal_mask = attention_mask["full_attention"]
            padding = attention_mask.get("linear_attention")
        if padding is not None:
            padding = padding[:, -T:] if T > 1 else None  # a token that is generated is never padding
        cos, sin = self.rotary_emb(x, position_ids)
        states = ()
        for layer in self.layers:
            if output_hidden_states:
                states += (x,)
            x = layer(x, cos, sin, position_ids, causal_mask, padding, past_key_values, **kwargs)
        x = self.norm(x)
        if output_hidden_states:
            states += (x,)
        return BaseModelOutputWithPast(
            last_hidden_state=x, past_key_values=past_key_values, hidden_states=states if output_hidden_states else None
        )


class FlashMorphForCausalLM(FlashMorphPreTrainedModel, GenerationMixin):
    _tied_weights_keys = {"lm_head.weight": "model.embed_tokens.weight"}

    def __init__(self, config):
        super().__init__(config)
        self.model = FlashMorphModel(config)
        self.vocab_size = config.vocab_size
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)
        self.post_init()

    def forward(
        self,
        input_ids=None,
        attention_mask=None,
        position_ids=None,
        past_key_values: Cache | None = None,
        inputs_embeds=None,
        labels=None,
        use_cache=None,
        logits_to_keep: int | torch.Tensor = 0,
        output_hidden_states=None,
        return_dict=None,
        **kwargs,
    ):
        out = self.model(
            input_ids=input_ids,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            inputs_embeds=inputs_embeds,
            use_cache=use_cache,
            output_hidden_states=output_hidden_states,
            **kwargs,
        )
        keep = slice(-logits_to_keep, None) if isinstance(logits_to_keep, int) else logits_to_keep
        logits = self.lm_head(out.last_hidden_state[:, keep, :])
        loss = None
        if labels is not None:
            loss = self.loss_function(logits=logits, labels=labels, vocab_size=self.config.vocab_size, **kwargs)
        result = CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=out.past_key_values, hidden_states=out.hidden_states
        )
        return result if return_dict is not False else result.to_tuple()


__all__ = ["FlashMorphForCausalLM", "FlashMorphModel", "FlashMorphPreTrainedModel"]
