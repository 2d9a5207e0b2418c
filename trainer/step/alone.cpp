// One rank under ddp: as for a script that is not wrapped in DistributedDataParallel, nothing is
// summed and nothing is copied.
#include "trainer/step/gradient_reducer.h"
#include "trainer/step/replicated_weights.h"

namespace vitsim {

namespace {

class Alone : public GradientReducer {
 public:
  explicit Alone(const ReducerContext& context) : weights_(*context.parameters) {}

  std::int64_t reduce() override { return 0; }

  [[nodiscard]] std::vector<Slice> slices() override { return weights_.slices(); }

  std::int64_t publish() override {
    weights_.publish();
    return 0;
  }

  void adopt_model() override { weights_.adopt(); }

 private:
  ReplicatedWeights weights_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_alone(const ReducerContext& context) {
  return std::make_unique<Alone>(context);
}

}  // namespace vitsim
