// Times of parts of a model. A part's pass is told from the whole's by what its operators take, by
// the same rates. Blocks and ends (embedding, head) are told apart: in the blocks the host may be
// slower than the device, kernels and collectives together, and then its launches are all that
// counts,
//
//   blocks = max(host, kernels + collectives) - collectives,
//
// with the rounded corner of PassTime::total. What the whole model's measured passes take beyond
// their operators is the host's as far as the host rules there, and the device's else.
#include <cmath>

#include "calibrate/compute/compute_model.h"
#include "models/vit/cost_graph.h"

namespace vitsim {

namespace {

/// Where nothing is known of kernels: matrix products alone, at a rate of 1.
PassTime products(const ModelPart& part, Pass pass, std::int64_t /*batch*/) {
  const double flops = forward_flops(part).value();
  return {.kernels = Seconds(pass == Pass::kForward ? flops : 2 * flops), .host = Seconds(0)};
}

/// Passes of parts, scaled so that those of the whole take what they do.
class ScaledPass {
 public:
  ScaledPass(const PassFunction& passes,
             const VitSpec& model,
             Pass pass,
             std::int64_t samples,
             Seconds whole)
      : passes_(passes), pass_(pass), samples_(samples) {
    const ModelPart all(model);
    const PassTime blocks = passes_(all.only_blocks(), pass_, samples_);
    const PassTime ends = passes_(all.only_ends(), pass_, samples_);
    const PassTime sum{.kernels = blocks.kernels + ends.kernels, .host = blocks.host + ends.host};
    if (sum.host > Seconds(0) && whole > Seconds(0)) {
      const double log_beyond = std::log(whole / sum.total());
      kernel_factor_ = std::exp(log_beyond * (1 - sum.host_share()));
      host_factor_ = std::exp(log_beyond * sum.host_share());
    }
    const Seconds own = scaled(blocks, Seconds(0)) + scaled(ends, Seconds(0));
    scale_ = own > Seconds(0) ? whole / own : 0.0;
  }

  [[nodiscard]] Seconds of(const ModelPart& part, Seconds communication) const {
    const PassTime blocks = passes_(part.only_blocks(), pass_, samples_);
    const Seconds of_blocks = scaled(blocks, communication);
    if (part.attention_alone) {
      return of_blocks * scale_;
    }
    return (of_blocks + scaled(passes_(part.only_ends(), pass_, samples_), Seconds(0))) * scale_;
  }

 private:
  [[nodiscard]] Seconds scaled(const PassTime& time, Seconds communication) const {
    const PassTime corrected{.kernels = time.kernels * kernel_factor_ + communication,
                             .host = time.host * host_factor_};
    return corrected.host == Seconds(0) ? time.kernels * kernel_factor_
                                        : corrected.total() - communication;
  }

  const PassFunction& passes_;
  Pass pass_;
  std::int64_t samples_;
  double kernel_factor_ = 1;
  double host_factor_ = 1;
  double scale_ = 1;
};

}  // namespace

MicroBatchTimes ComputeModel::at(std::int64_t samples,
                                 const ModelPart& part,
                                 const PassCommunication& communication) const {
  const MicroBatchTimes whole = at(samples);
  if (samples <= 0 || part.is_whole()) {
    return whole;
  }
  static const PassFunction kProducts = products;
  const PassFunction& known = part_passes ? part_passes : kProducts;
  const ScaledPass forward(known, part.model, Pass::kForward, samples, whole.forward);
  const ScaledPass backward(known, part.model, Pass::kBackward, samples, whole.backward);
  MicroBatchTimes times{.data_load = part.embedding ? whole.data_load : Seconds(0),
                        .forward = forward.of(part, communication.forward),
                        .backward = backward.of(part, communication.backward)};
  if (part.recompute == Recompute::kBlock) {
    times.backward += forward.of(part.only_blocks(), communication.forward);
  } else if (part.recompute == Recompute::kAttention) {
    ModelPart attention = part.only_blocks();
    attention.attention_alone = true;
    times.backward += forward.of(attention, Seconds(0));
  }
  return times;
}

double ComputeModel::share_of(const ModelPart& part) {
  return static_cast<double>(parameter_count(part)) /
         static_cast<double>(parameter_count(part.model));
}

}  // namespace vitsim
