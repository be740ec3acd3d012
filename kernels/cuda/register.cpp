// SPDX-License-Identifier: Apache-2.0
// Registers the CUDA kernels with LibTorch's dispatcher; what a kernel does not cover goes to the
// chunk form.
#include <ATen/ATen.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/library.h>

#include "kernels/cuda/gated_delta_args.h"
#include "kernels/cuda/scalar_decay_args.h"

namespace flashmorph::kernels::cuda {
namespace {

using OptionalTensor = std::optional<at::Tensor>;
using Gradients =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, OptionalTensor, OptionalTensor, at::Tensor>;
using Forward = std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&,
                                                   const at::Tensor&, const OptionalTensor&,
                                                   const OptionalTensor&, double,
                                                   const OptionalTensor&);
using Backward = Gradients(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                           const OptionalTensor&, const OptionalTensor&, double,
                           const OptionalTensor&, const at::Tensor&, const OptionalTensor&);

using DeltaGradients =
    std::tuple<at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor, at::Tensor>;
using DeltaForward = std::tuple<at::Tensor, at::Tensor>(const at::Tensor&, const at::Tensor&,
                                                        const at::Tensor&, const at::Tensor&,
                                                        const at::Tensor&, double,
                                                        const OptionalTensor&);
using DeltaBackward = DeltaGradients(const at::Tensor&, const at::Tensor&, const at::Tensor&,
                                     const at::Tensor&, const at::Tensor&, double,
                                     const OptionalTensor&, const at::Tensor&,
                                     const OptionalTensor&);

template <class Signature>
auto chunk_form(const char* name) {
  return c10::Dispatcher::singleton().findSchemaOrThrow(name, "").typed<Signature>();
}

bool fits(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return q.scalar_type() == at::kBFloat16 && k.scalar_type() == at::kBFloat16 &&
         v.scalar_type() == at::kBFloat16 && q.size(3) == v.size(3) && q.sizes() == k.sizes() &&
         q.size(1) > 0 && q.size(0) > 0 && q.size(2) > 0;
}
bool covered(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v) {
  return fits(q, k, v) && supported(static_cast<int>(q.size(3)));
}

// 16-byte rows with unit stride, else a copy
at::Tensor aligned(const at::Tensor& x) {
  bool fits = x.stride(3) == 1 && reinterpret_cast<uintptr_t>(x.data_ptr()) % 16 == 0;
  for (int64_t i = 0; i < 3; ++i) fits = fits && (x.size(i) == 1 || x.stride(i) % 8 == 0);
  return fits ? x : x.clone(at::MemoryFormat::Contiguous);
}
at::Tensor full_precision(const at::Tensor& x) { return x.to(at::kFloat).contiguous(); }

View view(const at::Tensor& x) { return {x.data_ptr(), x.stride(0), x.stride(1), x.stride(2)}; }

// log decay and beta in fp32, kept alive for the call
struct Gates {
  at::Tensor log_decay, beta;
  ScalarDecayGates view;
  Gates(const OptionalTensor& log_decay_, const OptionalTensor& beta_) {
    if (log_decay_) {
      log_decay = full_precision(*log_decay_);
      if (log_decay.dim() == 1)
        view.fixed = log_decay.const_data_ptr<float>();
      else
        view.per_token = cuda::view(log_decay);
    }
    if (beta_) {
      beta = full_precision(*beta_);
      view.beta = cuda::view(beta);
    }
  }
};

ScalarDecayShape shape_of(const at::Tensor& q, double scale) {
  return {static_cast<int>(q.size(0)), static_cast<int>(q.size(1)), static_cast<int>(q.size(2)),
          static_cast<int>(q.size(3)), static_cast<float>(scale)};
}

at::Tensor new_state(const at::Tensor& q) {
  return at::empty({q.size(0), q.size(2), q.size(3), q.size(3)}, q.options().dtype(at::kFloat));
}

template <class Args>
at::Tensor workspace(const Args& args, const at::Tensor& like) {
  // never empty: a null scratch means counting
  return at::empty({static_cast<int64_t>(workspace_bytes(args)) + 256},
                   like.options().dtype(at::kByte));
}

void check(const char* function, int error) {
  TORCH_CHECK(error == 0, "[", function, "] launch: expected success, got CUDA error ", error);
}

std::tuple<at::Tensor, at::Tensor> scalar_decay_forward(const at::Tensor& q_, const at::Tensor& k_,
                                                        const at::Tensor& v_,
                                                        const OptionalTensor& log_decay,
                                                        const OptionalTensor& beta, double scale,
                                                        const OptionalTensor& state_) {
  const c10::cuda::CUDAGuard guard(q_.device());
  if (!covered(q_, k_, v_)) {
    static const auto op = chunk_form<Forward>("flashmorph::scalar_decay_forward_chunk");
    return op.call(q_, k_, v_, log_decay, beta, scale, state_);
  }
  const at::Tensor q = aligned(q_), k = aligned(k_), v = aligned(v_);
  at::Tensor output = at::empty(v.sizes(), v.options()), final_state = new_state(q), state;
  const Gates gates(log_decay, beta);
  ScalarDecayForward args{shape_of(q, scale), gates.view, view(q), view(k), view(v), view(output)};
  if (state_) {
    state = full_precision(*state_);
    args.state = state.const_data_ptr<float>();
  }
  args.final_state = final_state.mutable_data_ptr<float>();
  const auto stream = c10::cuda::getCurrentCUDAStream();
  if (q.size(1) == 1 && state_) {
    check("scalar_decay_forward", run_decode(args, stream));
  } else {
    const at::Tensor scratch = workspace(args, q);
    check("scalar_decay_forward", run(args, scratch.data_ptr(), stream));
  }
  return {std::move(output), std::move(final_state)};
}

Gradients scalar_decay_backward(const at::Tensor& q_, const at::Tensor& k_, const at::Tensor& v_,
                                const OptionalTensor& log_decay, const OptionalTensor& beta,
                                double scale, const OptionalTensor& state_,
                                const at::Tensor& d_output_, const OptionalTensor& d_final_state_) {
  const c10::cuda::CUDAGuard guard(q_.device());
  if (!covered(q_, k_, v_)) {
    static const auto op = chunk_form<Backward>("flashmorph::scalar_decay_backward_chunk");
    return op.call(q_, k_, v_, log_decay, beta, scale, state_, d_output_, d_final_state_);
  }
  const at::Tensor q = aligned(q_), k = aligned(k_), v = aligned(v_);
  const at::Tensor d_output = aligned(d_output_.to(at::kBFloat16));
  at::Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options());
  at::Tensor dv = at::empty(v.sizes(), v.options()), d_state = new_state(q), state, d_final_state;
  const Gates gates(log_decay, beta);
  ScalarDecayBackward args{shape_of(q, scale),
                           gates.view,
                           view(q),
                           view(k),
                           view(v),
                           view(d_output),
                           view(dq),
                           view(dk),
                           view(dv),
                           nullptr,
                           nullptr,
                           nullptr,
                           {},
                           {}};
  if (state_) {
    state = full_precision(*state_);
    args.state = state.const_data_ptr<float>();
  }
  if (d_final_state_) {
    d_final_state = full_precision(*d_final_state_);
    args.d_final_state = d_final_state.const_data_ptr<float>();
  }
  args.d_state = d_state.mutable_data_ptr<float>();
  OptionalTensor d_log_decay, d_beta;
  if (gates.view.per_token.data) {
    d_log_decay = at::empty(gates.log_decay.sizes(), gates.log_decay.options());
    args.d_log_decay = view(*d_log_decay);
  }
  if (gates.view.beta.data) {
    d_beta = at::empty(gates.beta.sizes(), gates.beta.options());
    args.d_beta = view(*d_beta);
  }
  const at::Tensor scratch = workspace(args, q);
  check("scalar_decay_backward", run(args, scratch.data_ptr(), c10::cuda::getCurrentCUDAStream()));
  if (d_log_decay) d_log_decay = d_log_decay->to(log_decay->scalar_type());
  if (d_beta) d_beta = d_beta->to(beta->scalar_type());
  return {std::move(dq),          std::move(dk),     std::move(dv),
          std::move(d_log_decay), std::move(d_beta), std::move(d_state)};
}

constexpr int64_t kMostTokens = 64 * 65535;  // chunks are a grid's second dimension

bool delta_covered(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const at::Tensor& log_decay, bool backward) {
  return fits(q, k, v) && log_decay.dim() == 3 && q.size(1) <= kMostTokens &&
         supports_gated_delta(static_cast<int>(q.size(3)), backward);
}

GatedDeltaShape delta_shape(const at::Tensor& q, double scale, const at::Tensor& log_decay,
                            const at::Tensor& beta) {
  return {static_cast<int>(q.size(0)),
          static_cast<int>(q.size(1)),
          static_cast<int>(q.size(2)),
          static_cast<int>(q.size(3)),
          static_cast<float>(scale),
          view(log_decay),
          view(beta)};
}

std::tuple<at::Tensor, at::Tensor> gated_delta_rule_forward(
    const at::Tensor& q_, const at::Tensor& k_, const at::Tensor& v_, const at::Tensor& log_decay_,
    const at::Tensor& beta_, double scale, const OptionalTensor& state_) {
  const c10::cuda::CUDAGuard guard(q_.device());
  if (!delta_covered(q_, k_, v_, log_decay_, false)) {
    static const auto op = chunk_form<DeltaForward>("flashmorph::gated_delta_rule_forward_chunk");
    return op.call(q_, k_, v_, log_decay_, beta_, scale, state_);
  }
  const at::Tensor q = aligned(q_), k = aligned(k_), v = aligned(v_);
  const at::Tensor log_decay = full_precision(log_decay_), beta = full_precision(beta_);
  at::Tensor output = at::empty(v.sizes(), v.options()), final_state = new_state(q), state;
  GatedDeltaForward args{delta_shape(q, scale, log_decay, beta), view(q), view(k), view(v),
                         view(output)};
  if (state_) {
    state = full_precision(*state_);
    args.state = state.const_data_ptr<float>();
  }
  args.final_state = final_state.mutable_data_ptr<float>();
  const auto stream = c10::cuda::getCurrentCUDAStream();
  if (q.size(1) == 1 && state_) {
    check("gated_delta_rule_forward", run_decode(args, stream));
  } else {
    const at::Tensor scratch = workspace(args, q);
    check("gated_delta_rule_forward", run(args, scratch.data_ptr(), stream));
  }
  return {std::move(output), std::move(final_state)};
}

DeltaGradients gated_delta_rule_backward(const at::Tensor& q_, const at::Tensor& k_,
                                         const at::Tensor& v_, const at::Tensor& log_decay_,
                                         const at::Tensor& beta_, double scale,
                                         const OptionalTensor& state_, const at::Tensor& d_output_,
                                         const OptionalTensor& d_final_state_) {
  const c10::cuda::CUDAGuard guard(q_.device());
  if (!delta_covered(q_, k_, v_, log_decay_, true)) {
    static const auto op = chunk_form<DeltaBackward>("flashmorph::gated_delta_rule_backward_chunk");
    return op.call(q_, k_, v_, log_decay_, beta_, scale, state_, d_output_, d_final_state_);
  }
  const at::Tensor q = aligned(q_), k = aligned(k_), v = aligned(v_);
  const at::Tensor d_output = aligned(d_output_.to(at::kBFloat16));
  const at::Tensor log_decay = full_precision(log_decay_), beta = full_precision(beta_);
  at::Tensor dq = at::empty(q.sizes(), q.options()), dk = at::empty(k.sizes(), k.options());
  at::Tensor dv = at::empty(v.sizes(), v.options()), d_state = new_state(q), state, d_final_state;
  at::Tensor d_log_decay = at::empty_like(log_decay), d_beta = at::empty_like(beta);
  GatedDeltaBackward args{delta_shape(q, scale, log_decay, beta),
                          view(q),
                          view(k),
                          view(v),
                          view(d_output),
                          view(dq),
                          view(dk),
                          view(dv),
                          nullptr,
                          nullptr,
                          d_state.mutable_data_ptr<float>(),
                          view(d_log_decay),
                          view(d_beta)};
  if (state_) {
    state = full_precision(*state_);
    args.state = state.const_data_ptr<float>();
  }
  if (d_final_state_) {
    d_final_state = full_precision(*d_final_state_);
    args.d_final_state = d_final_state.const_data_ptr<float>();
  }
  const at::Tensor scratch = workspace(args, q);
  check("gated_delta_rule_backward",
        run(args, scratch.data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return {std::move(dq),
          std::move(dk),
          std::move(dv),
          d_log_decay.to(log_decay_.scalar_type()),
          d_beta.to(beta_.scalar_type()),
          std::move(d_state)};
}

}  // namespace

// NOLINTBEGIN: macros of LibTorch
TORCH_LIBRARY_IMPL(flashmorph, CUDA, m) {
  m.impl("scalar_decay_forward", &scalar_decay_forward);
  m.impl("scalar_decay_backward", &scalar_decay_backward);
  m.impl("gated_delta_rule_forward", &gated_delta_rule_forward);
  m.impl("gated_delta_rule_backward", &gated_delta_rule_backward);
}
// NOLINTEND

}  // namespace flashmorph::kernels::cuda
