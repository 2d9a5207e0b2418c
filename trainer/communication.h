#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/ProcessGroup.hpp>

#include "trainer/device.h"
#include "trainer/mpi/backend.h"
#include "trainer/mpi/session.h"

namespace vitsim {

/// Everything that ranks tell each other after start-up: c10d's process group for tensors on the
/// CPU (by MPI) and on the device, and a few sums and gatherings of plain numbers.
class Communication {
 public:
  Communication(const MpiSession& session, AllReduceAlgorithm algorithm, WaitPolicy wait);
  Communication(const Communication&) = delete;
  Communication& operator=(const Communication&) = delete;
  ~Communication();

  /// Adds the device's own collectives to the group. Collective; throws UserError on every rank
  /// where some are on CPUs, others on GPUs.
  void connect(Device& device, AllReduceAlgorithm algorithm);

  [[nodiscard]] const c10::intrusive_ptr<c10d::ProcessGroup>& group() const { return group_; }

  [[nodiscard]] const MpiWorker& worker() const { return worker_; }

  void barrier();
  void sum(std::span<double> values);

  /// The numbers of all ranks, by rank.
  [[nodiscard]] std::vector<std::vector<std::int64_t>> gather(std::span<const std::int64_t> values);

  /// The texts of all ranks, by rank.
  [[nodiscard]] std::vector<std::string> gather_text(const std::string& text);

  /// A message of `bytes` to rank `other` and one back; both call it, one of them `first`.
  void ping_pong(void* buffer, std::size_t bytes, int other, bool first);

  /// Gives back the memory that the largest sum so far needed.
  void release_scratch();

  /// Runs `check` everywhere. If it throws anywhere, the lowest such rank throws that on and the
  /// others throw OtherRankFailed with its exit code.
  void on_every_rank(const std::function<void()>& check);

 private:
  const MpiSession& session_;
  Ring ring_;
  MpiWorker worker_;
  c10::intrusive_ptr<MpiBackend> cpu_;
  c10::intrusive_ptr<c10d::Backend> device_;
  c10::intrusive_ptr<c10d::ProcessGroup> group_;
};

/// Throws UserError that names two ranks and their hosts unless all have the same kind of device;
/// both lists are by rank.
void require_same_kind(const std::vector<std::string>& kinds,
                       const std::vector<std::string>& hosts);

}  // namespace vitsim
