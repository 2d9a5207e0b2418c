#include "trainer/mpi/backend.h"

#include <cstring>
#include <utility>

#include "models/error.h"
#include "trainer/device.h"

namespace vitsim {

namespace {

ElementType element_type(const at::Tensor& tensor) {
  switch (tensor.scalar_type()) {
    case at::kFloat:
      return ElementType::kFloat32;
    case at::kDouble:
      return ElementType::kFloat64;
    case at::kHalf:
      return ElementType::kFloat16;
    case at::kBFloat16:
      return ElementType::kBfloat16;
    case at::kLong:
      return ElementType::kInt64;
    default:
      throw InternalError(std::string("no sum over ranks for ") +
                          at::toString(tensor.scalar_type()));
  }
}

void require_plain(const at::Tensor& tensor) {
  if (!tensor.is_contiguous() || !tensor.device().is_cpu() || tensor.is_sparse()) {
    throw InternalError("collectives need dense, contiguous CPU tensors");
  }
}

// Completed by the worker; holds the tensors until then.
class MpiWork : public c10d::Work {
 public:
  MpiWork(int rank, c10d::OpType kind, std::vector<at::Tensor> result)
      : Work(rank, kind),
        result_(std::move(result)),
        future_(c10::make_intrusive<c10::ivalue::Future>(
            c10::ListType::create(c10::TensorType::get()))) {}

  c10::intrusive_ptr<c10::ivalue::Future> getFuture() override { return future_; }

  std::vector<at::Tensor> result() override { return result_; }

  // Written by the worker before the work is complete.
  const std::shared_ptr<WorkTimes> times = std::make_shared<WorkTimes>();

  void complete(const std::exception_ptr& error) {
    if (error) {
      future_->setError(error);
    } else {
      future_->markCompleted(c10::IValue(result_));
    }
    finish(error);
  }

 private:
  std::vector<at::Tensor> result_;
  c10::intrusive_ptr<c10::ivalue::Future> future_;
};

}  // namespace

MpiBackend::MpiBackend(MpiWorker& worker, Ring& ring, CpuAllReduce algorithm)
    : Backend(ring.rank(), ring.size()), worker_(worker), ring_(ring), algorithm_(algorithm) {}

c10::intrusive_ptr<c10d::Work> MpiBackend::enqueue(c10d::OpType kind,
                                                   std::vector<at::Tensor> result,
                                                   std::function<void()> job) {
  auto work = c10::make_intrusive<MpiWork>(getRank(), kind, std::move(result));
  worker_.submit(
      [work, job = std::move(job)] {
        work->times->begin_ns = host_nanoseconds();
        job();
        work->times->end_ns = host_nanoseconds();
      },
      [work](const std::exception_ptr& error) { work->complete(error); });
  return work;
}

std::shared_ptr<const WorkTimes> times_of(const c10d::Work& work) {
  const auto* mine = dynamic_cast<const MpiWork*>(&work);
  return mine != nullptr ? mine->times : nullptr;
}

c10::intrusive_ptr<c10d::Work> MpiBackend::allreduce(std::vector<at::Tensor>& tensors,
                                                     const c10d::AllreduceOptions& options) {
  TORCH_CHECK(options.reduceOp == c10d::ReduceOp::SUM, "only sums over ranks");
  for (const at::Tensor& tensor : tensors) {
    require_plain(tensor);
  }
  return enqueue(c10d::OpType::ALLREDUCE, tensors, [this, tensors] {
    for (const at::Tensor& tensor : tensors) {
      const auto count = static_cast<std::size_t>(tensor.numel());
      if (algorithm_ == CpuAllReduce::kRing) {
        ring_.all_reduce(tensor.data_ptr(), count, element_type(tensor));
      } else {
        ring_.library_all_reduce(tensor.data_ptr(), count, element_type(tensor));
      }
    }
  });
}

c10::intrusive_ptr<c10d::Work> MpiBackend::broadcast(std::vector<at::Tensor>& tensors,
                                                     const c10d::BroadcastOptions& options) {
  for (const at::Tensor& tensor : tensors) {
    require_plain(tensor);
  }
  const int root = static_cast<int>(options.rootRank);
  return enqueue(c10d::OpType::BROADCAST, tensors, [this, tensors, root] {
    for (const at::Tensor& tensor : tensors) {
      ring_.broadcast(tensor.data_ptr(), tensor.nbytes(), root);
    }
  });
}

c10::intrusive_ptr<c10d::Work> MpiBackend::allgather(std::vector<std::vector<at::Tensor>>& outputs,
                                                     std::vector<at::Tensor>& inputs,
                                                     const c10d::AllgatherOptions& /*options*/) {
  TORCH_CHECK(inputs.size() == 1 && outputs.size() == 1, "one tensor a rank");
  require_plain(inputs.front());
  at::Tensor input = inputs.front();
  std::vector<at::Tensor> parts = outputs.front();
  at::Tensor all = at::empty({getSize(), input.numel()}, input.options());
  return enqueue(c10d::OpType::ALLGATHER, parts, [this, input, parts, all] {
    const at::NoGradGuard no_grad;
    all[getRank()].copy_(input.view(-1));
    ring_.all_gather(all.data_ptr(), static_cast<std::size_t>(all.numel()), all.element_size());
    for (int rank = 0; rank < getSize(); ++rank) {
      parts[static_cast<std::size_t>(rank)].view(-1).copy_(all[rank]);
    }
  });
}

c10::intrusive_ptr<c10d::Work> MpiBackend::_allgather_base(
    at::Tensor& output, at::Tensor& input, const c10d::AllgatherOptions& /*options*/) {
  require_plain(output);
  require_plain(input);
  TORCH_CHECK(output.numel() == input.numel() * getSize(), "output holds one input a rank");
  return enqueue(c10d::OpType::_ALLGATHER_BASE, {output}, [this, output, input] {
    auto* own = static_cast<std::byte*>(output.data_ptr()) +
                static_cast<std::size_t>(getRank()) * input.nbytes();
    if (own != input.data_ptr()) {
      std::memcpy(own, input.data_ptr(), input.nbytes());
    }
    ring_.all_gather(
        output.data_ptr(), static_cast<std::size_t>(output.numel()), output.element_size());
  });
}

c10::intrusive_ptr<c10d::Work> MpiBackend::_reduce_scatter_base(
    at::Tensor& output, at::Tensor& input, const c10d::ReduceScatterOptions& options) {
  TORCH_CHECK(options.reduceOp == c10d::ReduceOp::SUM, "only sums over ranks");
  require_plain(output);
  require_plain(input);
  TORCH_CHECK(input.numel() == output.numel() * getSize(), "input holds one output a rank");
  return enqueue(c10d::OpType::_REDUCE_SCATTER_BASE, {output}, [this, output, input] {
    ring_.reduce_scatter(
        input.data_ptr(), static_cast<std::size_t>(input.numel()), element_type(input));
    const auto* own = static_cast<const std::byte*>(input.data_ptr()) +
                      static_cast<std::size_t>(getRank()) * output.nbytes();
    if (own != output.data_ptr()) {
      std::memcpy(output.data_ptr(), own, output.nbytes());
    }
  });
}

c10::intrusive_ptr<c10d::Work> MpiBackend::barrier(const c10d::BarrierOptions& /*options*/) {
  return enqueue(c10d::OpType::BARRIER, {}, [this] { ring_.barrier(); });
}

}  // namespace vitsim
