#include "sim/step/replica.h"

namespace vitsim {

namespace {

BlockCalls ulysses_calls(const BlockShares& shares, std::uint32_t axis, double bytes) {
  BlockCalls calls;
  const auto all_to_all = [&](double at) {
    return PassCall{
        .at = at, .kind = CollectiveKind::kAllToAll, .axis = axis, .bytes_per_sample = bytes};
  };
  for (int of_query_key_and_value = 0; of_query_key_and_value < 3; ++of_query_key_and_value) {
    calls.forward.push_back(all_to_all(shares.attention_begin));
  }
  calls.forward.push_back(all_to_all(shares.attention_end));
  calls.backward.push_back(all_to_all(1 - shares.attention_end));
  for (int gradient = 0; gradient < 3; ++gradient) {
    calls.backward.push_back(all_to_all(1 - shares.attention_begin));
  }
  return calls;
}

// `count` messages, each beside the attention to the keys that have come before.
std::vector<PassCall> ring_steps(
    double begin, double end, std::int64_t count, std::uint32_t axis, double bytes) {
  std::vector<PassCall> calls;
  const auto at = [&](std::int64_t step) {
    return begin + (end - begin) * static_cast<double>(step) / static_cast<double>(count + 1);
  };
  for (std::int64_t step = 0; step < count; ++step) {
    calls.push_back({.at = at(step),
                     .what = PassCall::What::kRingStep,
                     .axis = axis,
                     .bytes_per_sample = bytes});
  }
  calls.push_back({.at = at(count), .what = PassCall::What::kWait});
  return calls;
}

}  // namespace

BlockCalls sequence_calls(const ModelPart& part,
                          SequenceKind kind,
                          Precision precision,
                          std::uint32_t axis) {
  if (part.sequence == 1) {
    return {};
  }
  const BlockShares shares(part);
  const std::int64_t elements = part.tokens() * part.model.width / part.tensor;
  const double bytes = static_cast<double>(elements) * arithmetic_bytes(precision).value();
  if (kind == SequenceKind::kUlysses) {
    return ulysses_calls(shares, axis, bytes);
  }
  const double of_keys_and_values = 2 * bytes;
  return {.forward = ring_steps(shares.attention_begin,
                                shares.attention_end,
                                part.sequence - 1,
                                axis,
                                of_keys_and_values),
          .backward = ring_steps(1 - shares.attention_end,
                                 1 - shares.attention_begin,
                                 2 * (part.sequence - 1),
                                 axis,
                                 of_keys_and_values)};
}

}  // namespace vitsim
