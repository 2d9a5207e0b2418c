#pragma once

#include <cstdint>
#include <vector>

#include "trainer/optimizer.h"
#include "trainer/step/gradient_reducer.h"

namespace vitsim {

/// Weights that every rank updates alike. Where the model is in 16 bits, fp32 master copies take
/// the updates and the model gets their rounded values.
class ReplicatedWeights {
 public:
  explicit ReplicatedWeights(const std::vector<at::Tensor>& parameters);

  /// fp32 weights and gradients, one slice per parameter; a missing gradient counts as zero.
  [[nodiscard]] std::vector<Slice> slices() const;

  /// The fp32 weights themselves, by parameter.
  [[nodiscard]] std::vector<at::Tensor> weights() const;

  /// Gives the model the weights' new values, or takes its values over.
  void publish() const;
  void adopt() const;

 private:
  const std::vector<at::Tensor>& parameters_;
  std::vector<at::Tensor> master_;  // empty where the model itself is fp32
};

/// What reducers have in common whose ranks all update everything.
class ReplicatedReducer : public GradientReducer {
 public:
  explicit ReplicatedReducer(const ReducerContext& context) : weights_(context.parameters()) {}

  [[nodiscard]] std::vector<Slice> slices() override { return weights_.slices(); }

  std::int64_t publish() override {
    weights_.publish();
    return 0;
  }

  void adopt_model() override { weights_.adopt(); }

 protected:
  [[nodiscard]] const ReplicatedWeights& replicated() const { return weights_; }

 private:
  ReplicatedWeights weights_;
};

}  // namespace vitsim
