#include "sim/step/replica.h"

namespace vitsim {

BlockCalls tensor_calls(const ModelPart& part, Precision precision, std::uint32_t axis) {
  BlockCalls calls;
  if (part.tensor == 1) {
    return calls;
  }
  const double bytes =
      static_cast<double>(part.tokens() * part.model.width) * arithmetic_bytes(precision).value();
  const auto call = [&](double at,
                        CollectiveKind kind,
                        PassCall::What what = PassCall::What::kCollective) {
    return PassCall{.at = at, .what = what, .kind = kind, .axis = axis, .bytes_per_sample = bytes};
  };
  // Backward comes to the MLP first.
  const double mlp = BlockShares(part).mlp_begin;
  const double attention = 1 - mlp;
  using enum CollectiveKind;
  if (!part.norms_split) {
    calls.forward = {call(mlp, kAllReduce), call(1, kAllReduce)};
    calls.backward = {call(attention, kAllReduce), call(1, kAllReduce)};
    return calls;
  }
  calls.forward = {call(0, kAllGather),
                   call(mlp, kReduceScatter),
                   call(mlp, kAllGather),
                   call(1, kReduceScatter)};
  // Forward kept the inputs split: they are gathered once more for the gradients of the weights.
  calls.backward = {call(0, kAllGather),
                    call(0, kAllGather, PassCall::What::kBeside),
                    {.at = attention, .what = PassCall::What::kWait},
                    call(attention, kReduceScatter),
                    call(attention, kAllGather),
                    call(1, kReduceScatter)};
  return calls;
}

}  // namespace vitsim
