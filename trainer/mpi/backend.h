#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <torch/csrc/distributed/c10d/Backend.hpp>

#include "trainer/mpi/ring.h"
#include "trainer/mpi/worker.h"

namespace vitsim {

/// c10d's collectives on CPU tensors by MPI, so that its Reducer works between CPUs. Tensors must
/// be dense and contiguous. Calls return at once; the worker carries them out in order.
class MpiBackend : public c10d::Backend {
 public:
  /// `worker` and `ring` must outlive the backend.
  MpiBackend(MpiWorker& worker, Ring& ring, CpuAllReduce algorithm);

  [[nodiscard]] const std::string getBackendName() const override { return "vitsim-mpi"; }

  c10::intrusive_ptr<c10d::Work> allreduce(std::vector<at::Tensor>& tensors,
                                           const c10d::AllreduceOptions& options) override;
  c10::intrusive_ptr<c10d::Work> broadcast(std::vector<at::Tensor>& tensors,
                                           const c10d::BroadcastOptions& options) override;
  c10::intrusive_ptr<c10d::Work> allgather(std::vector<std::vector<at::Tensor>>& outputs,
                                           std::vector<at::Tensor>& inputs,
                                           const c10d::AllgatherOptions& options) override;
  /// `output` must have as many elements as `size()` inputs; rank r's part starts at r x inputs.
  c10::intrusive_ptr<c10d::Work> _allgather_base(at::Tensor& output,
                                                 at::Tensor& input,
                                                 const c10d::AllgatherOptions& options) override;
  /// As for `_allgather_base`. `input` is overwritten.
  c10::intrusive_ptr<c10d::Work> _reduce_scatter_base(
      at::Tensor& output, at::Tensor& input, const c10d::ReduceScatterOptions& options) override;
  c10::intrusive_ptr<c10d::Work> barrier(const c10d::BarrierOptions& options) override;

 private:
  c10::intrusive_ptr<c10d::Work> enqueue(c10d::OpType kind,
                                         std::vector<at::Tensor> result,
                                         std::function<void()> job);

  MpiWorker& worker_;
  Ring& ring_;
  CpuAllReduce algorithm_;
};

/// When a collective ran, on the host's steady clock.
struct WorkTimes {
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
};

/// Times of a collective of MpiBackend, valid once it is complete; null for other work. Unlike the
/// work it keeps no tensors alive.
std::shared_ptr<const WorkTimes> times_of(const c10d::Work& work);

}  // namespace vitsim
