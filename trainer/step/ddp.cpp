// Distributed data parallel training on c10d's Reducer, driven as Python's DistributedDataParallel
// drives it (torch/nn/parallel/distributed.py). C++ has no such module, but the Reducer holds all
// of it: hooks on every parameter collect gradients into buckets, a full bucket is summed over
// ranks while backward goes on computing, and the next bucket waits for it. The first pass records
// the order in which gradients appear; before the second, buckets are built anew in that order
// (first cap 1 MiB, then 25 MiB).
//
// Accumulation without communication needs no switch: the hooks do nothing unless
// `prepare_for_backward` was called, and reduce the accumulated sum when it was.
#include <string>
#include <unordered_map>

#include <torch/csrc/distributed/c10d/comm.hpp>
#include <torch/csrc/distributed/c10d/logger.hpp>
#include <torch/csrc/distributed/c10d/reducer.hpp>

#include "models/vit/buckets.h"
#include "trainer/step/communication_hook.h"
#include "trainer/step/replicated_weights.h"

namespace vitsim {

namespace {

// Python's default for the initial sizes: one bucket until the order is known.
constexpr std::size_t kUnlimited = std::numeric_limits<std::int64_t>::max();

class Ddp : public ReplicatedReducer {
 public:
  Ddp(const Ddp&) = delete;
  Ddp& operator=(const Ddp&) = delete;

  explicit Ddp(const ReducerContext& context) : ReplicatedReducer(context) {
    const std::vector<at::Tensor>& parameters = context.parameters();
    c10d::verify_params_across_processes(context.group, parameters, std::nullopt);
    auto buckets = std::get<0>(c10d::compute_bucket_assignment_by_size(
        parameters, {kUnlimited}, std::vector<bool>(parameters.size(), false)));
    std::ranges::reverse(buckets);
    reducer_ = std::make_shared<c10d::Reducer>(parameters,
                                               std::move(buckets),
                                               context.group,
                                               std::vector<bool>(parameters.size(), false),
                                               kBucketCap,
                                               /*find_unused_parameters=*/false,
                                               /*gradient_as_bucket_view=*/false,
                                               std::unordered_map<std::size_t, std::string>(),
                                               kFirstBucketCap,
                                               /*skip_all_reduce_unused_params=*/false,
                                               /*use_python_reducer=*/false,
                                               std::vector<std::int64_t>());
    Device& device = *context.device;
    auto hook = make_communication_hook(
        context.training->communication_hook,
        {.group = context.group,
         .device = &device,
         .parameters = &parameters,
         .backward_done = [this, &device] { done_ = device.mark(); },
         .wait = [this, &device](c10d::Work& work) { wait_within_pass(device, work); }});
    hook_ = hook.get();
    reducer_->register_comm_hook(std::move(hook));
    logger_ = std::make_shared<c10d::Logger>(reducer_);
    reducer_->set_logger(logger_);
    logger_->set_construction_data_and_log("VisionTransformer", {}, -1, false, false, false);
  }

  ~Ddp() override {
    logger_.reset();  // reads the reducer when it goes
    reducer_.reset();
  }

  void begin_step(const StepShare& share) override { hook_->begin_step(share.step); }

  void before_forward(bool last) override {
    if (last) {
      reducer_->prepare_for_forward();
    }
    reducer_->rebuild_buckets();
  }

  void before_backward(bool last) override {
    done_.reset();
    if (last) {
      reducer_->prepare_for_backward({});
    }
  }

  [[nodiscard]] std::optional<Mark> backward_done() const override { return done_; }

  [[nodiscard]] bool tracks_collectives() const override { return true; }

  std::int64_t reduce() override { return 0; }

  [[nodiscard]] std::vector<NamedTensor> own_state() override { return hook_->own_state(); }

 private:
  std::optional<Mark> done_;
  CommunicationHook* hook_ = nullptr;  // the Reducer's
  std::shared_ptr<c10d::Reducer> reducer_;
  std::shared_ptr<c10d::Logger> logger_;
};

}  // namespace

std::unique_ptr<GradientReducer> make_ddp(const ReducerContext& context) {
  return std::make_unique<Ddp>(context);
}

}  // namespace vitsim
