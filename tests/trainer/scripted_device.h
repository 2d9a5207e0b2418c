#pragma once

#include <utility>
#include <vector>

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "trainer/device.h"

namespace vitsim::testing {

/// A device whose clock is a number.
class ScriptedDevice : public Device {
 public:
  std::int64_t now = 0;
  std::vector<CommunicationRecord> communication;

  [[nodiscard]] c10::Device torch_device() const override { return c10::DeviceType::CPU; }

  [[nodiscard]] std::string name() const override { return "scripted"; }

  [[nodiscard]] bool supports(Precision) const override { return true; }

  [[nodiscard]] bool supports(AllReduceAlgorithm) const override { return true; }

  void prepare(Precision) override {}

  c10::intrusive_ptr<c10d::Backend> connect(const Meeting&, AllReduceAlgorithm) override {
    return {};
  }

  Mark mark() override { return {now}; }

  void track(const c10::intrusive_ptr<c10d::Work>&, Phase, std::int64_t) override {}

  void synchronize() override {}

  std::int64_t nanoseconds(Mark mark) override { return mark.value; }

  std::vector<CommunicationRecord> take_communication() override {
    return std::exchange(communication, {});
  }

  [[nodiscard]] std::int64_t peak_memory_bytes() const override { return 0; }

  [[nodiscard]] std::optional<std::int64_t> memory_bytes() const override { return std::nullopt; }
};

}  // namespace vitsim::testing
