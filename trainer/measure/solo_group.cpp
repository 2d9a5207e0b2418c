#include "trainer/measure/solo_group.h"

#include <utility>

#include <torch/csrc/distributed/c10d/HashStore.hpp>

namespace vitsim {

namespace {

class DoneWork : public c10d::Work {
 public:
  explicit DoneWork(std::vector<at::Tensor> result)
      : Work(0, c10d::OpType::ALLREDUCE), result_(std::move(result)) {
    finish();
  }

  std::vector<at::Tensor> result() override { return result_; }

 private:
  std::vector<at::Tensor> result_;
};

class SoloBackend : public c10d::Backend {
 public:
  SoloBackend() : Backend(0, 1) {}

  [[nodiscard]] const std::string getBackendName() const override { return "vitsim-solo"; }

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& /*options*/) override {
    return c10::make_intrusive<DoneWork>(tensors);
  }
};

}  // namespace

c10::intrusive_ptr<c10d::ProcessGroup> make_solo_group(c10::Device device) {
  auto group =
      c10::make_intrusive<c10d::ProcessGroup>(c10::make_intrusive<c10d::HashStore>(), 0, 1);
  group->setBackend(
      device.type(), c10d::ProcessGroup::BackendType::CUSTOM, c10::make_intrusive<SoloBackend>());
  group->setDefaultBackend(c10d::ProcessGroup::BackendType::CUSTOM);
  return group;
}

}  // namespace vitsim
