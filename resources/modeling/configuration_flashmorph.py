# SPDX-License-Identifier: Apache-2.0
"""Configuration of FlashMorph hybrids: full attention in some layers, lightning attention in the others.

Field names follow HypeNet (`mixer_types`, `attn_*`, `lightning_*`). Decays are written out: a linear layer forgets by
exp(-lightning_slopes[head]) a token.
"""

from transformers.configuration_utils import PreTrainedConfig


class FlashMorphConfig(PreTrainedConfig):
    model_type = "flashmorph_hybrid"
    keys_to_ignore_at_inference = ["past_key_values"]

    def __init__(
        self,
        vocab_size=32000,
        hidden_size=512,
        intermediate_size=1024,
        num_hidden_layers=2,
        num_attention_heads=8,
        num_key_value_heads=None,
        head_dim=None,
        hidden_act="silu",
        max_position_embeddings=2048,
        initializer_range=0.02,
        rms_norm_eps=1e-6,
        use_cache=True,
        tie_word_embeddings=False,
        rope_parameters=None,
        rope_freq_factors=None,  # [head_dim / 2] divisors of the frequencies, as some GGUF files have them
        qk_norm=False,  # full layers: RMSNorm over each head of q and k, before RoPE
        qkv_bias=False,
        attention_o_bias=False,
        mlp_bias=False,
        attention_dropout=0.0,
        mixer_types=None,  # "attn" or "lightning-attn", one word a layer
        attn_use_rope=True,
        attn_use_output_gate=False,
        attn_logits_scaling=None,  # None, or "hype A": the query at position t is multiplied by ln(t + A) / ln(A)
        lightning_use_rope=True,
        lightning_rope_scaling=None,
        lightning_nh=None,
        lightning_nkv=None,
        lightning_head_dim=None,
        lightning_scale="1/sqrt(d)",
        lightning_use_qk_norm=True,
        lightning_use_qkv_bias=False,
        lightning_use_silu=False,
        lightning_use_output_norm=True,
        lightning_use_output_gate=True,
        lightning_use_short_conv=False,
        lightning_conv_size=4,
        lightning_slopes=None,  # [heads], or [layers][heads]
        **kwargs,
    ):
        if mixer_types is None:
            mixer_types = ["attn"] * num_hidden_layers
        if len(mixer_types) != num_hidden_layers or set(mixer_types) - {"attn", "lightning-attn"}:
            raise ValueError("mixer_types needs one of attn, lightning-attn for each layer")
        if lightning_rope_scaling is not None:
            raise ValueError("lightning_rope_scaling is not supported")
        self.vocab_size = vocab_size
        self.hidden_size = hidden_size
        self.intermediate_size = intermediate_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.num_key_value_heads = num_key_value_heads or num_attention_heads
        self.head_dim = head_dim or hidden_size // num_attention_heads
        self.hidden_act = hidden_act
        self.max_position_embeddings = max_position_embeddings
        self.initializer_range = initializer_range
        self.rms_norm_eps = rms_norm_eps
        self.use_cache = use_cache
        self.rope_parameters = rope_parameters or {"rope_type": "default", "rope_theta": 10000.0}
        self.rope_freq_factors = rope_freq_factors
        self.qk_norm = qk_norm
        self.qkv_bias = qkv_bias
        self.attention_o_bias = attention_o_bias
        self.mlp_bias = mlp_bias
        self.attention_dropout = attention_dropout
        self.mixer_types = list(mixer_types)
        self.layer_types = ["full_attention" if m == "attn" else "linear_attention" for m in mixer_types]
        self.attn_use_rope = attn_use_rope
        self.attn_use_output_gate = attn_use_output_gate
        self.attn_logits_scaling = attn_logits_scaling
        self.lightning_use_rope = lightning_use_rope
        self.lightning_rope_scaling = lightning_rope_scaling
        self.lightning_nh = lightning_nh or num_attention_heads
        self.lightning_nkv = lightning_nkv or self.lightning_nh
        self.lightning_head_dim = lightning_head_dim or self.head_dim
        self.lightning_scale = lightning_scale
        self.lightning_use_qk_norm = lightning_use_qk_norm
        self.lightning_use_qkv_bias = lightning_use_qkv_bias
        self.lightning_use_silu = lightning_use_silu
        self.lightning_use_output_norm = lightning_use_output_norm
        self.lightning_use_output_gate = lightning_use_output_gate
        self.lightning_use_short_conv = lightning_use_short_conv
        self.lightning_conv_size = lightning_conv_size
        if lightning_slopes is None:
            lightning_slopes = [2.0 ** (-8.0 * (h + 1) / self.lightning_nh) for h in range(self.lightning_nh)]
        self.lightning_slopes = lightning_slopes
        kwargs.pop("layer_types", None)  # follows from mixer_types
        super().__init__(tie_word_embeddings=tie_word_embeddings, **kwargs)


__all__ = ["FlashMorphConfig"]
