// One rank under ddp: as for a script that is not wrapped in DistributedDataParallel, nothing is
// summed and nothing is copied.
#include "trainer/step/replicated_weights.h"

namespace vitsim {

namespace {

class Alone : public ReplicatedReducer {
 public:
  using ReplicatedReducer::ReplicatedReducer;

  std::int64_t reduce() override { return 0; }
};

}  // namespace

std::unique_ptr<GradientReducer> make_alone(const ReducerContext& context) {
  return std::make_unique<Alone>(context);
}

}  // namespace vitsim
