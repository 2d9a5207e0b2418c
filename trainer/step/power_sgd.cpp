// PowerSGD (Vogels et al., 2019) as PyTorch's powerSGD_hook. A gradient of R rows and C columns is
// approximated by P Q^T with factors of `rank` columns: with Q from the step before,
// orthogonalised,
//
//   P = sum over ranks of G_r Q, orthogonalised;   Q = sum over ranks of G_r^T P;   G = P Q^T
//
// which is one step of the power method towards the sum's largest singular vectors. What the
// approximation leaves out is added to the next step's gradient (error feedback). Gradients arrive
// weighted by samples, so G is the sum and each of N ranks keeps G_r + error_r - G / N: over all
// ranks that is what was left out.
//
// A bucket makes three AllReduces in a row: of the gradients that are not worth it ((R + C) x 2 x
// rank >= R x C, or one-dimensional) as they are, of all P, of all Q. They run where the bucket
// becomes ready, and backward waits for them: they are small. Before `start_step` buckets are
// summed as they are.
#include <map>
#include <string>
#include <unordered_map>
#include <utility>

#include <ATen/ATen.h>
#include <ATen/CPUGeneratorImpl.h>

#include "trainer/step/communication_hook.h"

namespace vitsim {

namespace {

constexpr std::int64_t kLeastCompression = 2;  // PyTorch's min_compression_rate
constexpr double kOrthogonalisationEpsilon = 1e-8;

// Gram-Schmidt on the columns, in place.
void orthogonalise(at::Tensor& matrix) {
  for (std::int64_t i = 0; i < matrix.size(1); ++i) {
    at::Tensor column = matrix.narrow(1, i, 1);
    column.div_(column.norm() + kOrthogonalisationEpsilon);
    if (i + 1 < matrix.size(1)) {
      at::Tensor rest = matrix.narrow(1, i + 1, matrix.size(1) - i - 1);
      rest.sub_(column.matmul(column.t().matmul(rest)));
    }
  }
}

class PowerSgd : public CommunicationHook {
 public:
  PowerSgd(const HookSpec& spec, HookContext context)
      : CommunicationHook(std::move(context)), spec_(spec) {
    auto generator = at::make_generator<at::CPUGeneratorImpl>(0);  // the same on every rank
    const auto& parameters = *state_.parameters;
    for (std::size_t i = 0; i < parameters.size(); ++i) {
      const at::Tensor& parameter = parameters[i];
      const std::int64_t rows = parameter.size(0);
      const std::int64_t columns = parameter.numel() / rows;
      if (parameter.dim() < 2 ||
          (rows + columns) * kLeastCompression * spec.rank >= rows * columns) {
        continue;
      }
      const auto options = at::TensorOptions().dtype(at::kFloat).device(parameter.device());
      at::Tensor q = at::empty({columns, spec.rank}, at::kFloat).normal_(0, 1, generator);
      numbers_.emplace(parameter.unsafeGetTensorImpl(), i);
      factors_.emplace(
          i, Factor{.error = at::zeros({rows, columns}, options), .q = q.to(options.device())});
    }
  }

  void begin_step(std::int64_t step) override { compress_ = step >= spec_.start_step; }

  c10::intrusive_ptr<c10::ivalue::Future> runHook(c10d::GradBucket& bucket) override {
    if (bucket.isLast()) {
      state_.backward_done();
    }
    if (!compress_) {
      return launch_sum(bucket.getBufferRef())->getFuture();
    }
    const at::NoGradGuard no_grad;
    compress(bucket.getGradients(), bucket.getParameters());
    auto done = c10::make_intrusive<c10::ivalue::Future>(
        c10::TensorType::get(),
        bucket.getBufferRef().is_cuda() ? std::vector<c10::Device>{bucket.getBufferRef().device()}
                                        : std::vector<c10::Device>{});
    done->markCompleted(c10::IValue(bucket.getBufferRef()));
    return done;
  }

  [[nodiscard]] std::vector<NamedTensor> own_state() override {
    std::vector<NamedTensor> state;
    for (const auto& [number, factor] : factors_) {
      state.push_back({"powersgd_error/" + std::to_string(number), factor.error});
      state.push_back({"powersgd_q/" + std::to_string(number), factor.q});
    }
    return state;
  }

 private:
  struct Factor {
    at::Tensor error;
    at::Tensor q;
  };

  // Sums tensors over ranks as one vector.
  void sum(const std::vector<at::Tensor>& tensors) {
    if (tensors.empty()) {
      return;
    }
    std::vector<at::Tensor> parts;
    parts.reserve(tensors.size());
    for (const at::Tensor& tensor : tensors) {
      parts.push_back(tensor.reshape(-1));
    }
    const at::Tensor flat = at::cat(parts);
    state_.wait(*launch_sum(flat));
    std::int64_t at = 0;
    for (const at::Tensor& tensor : tensors) {
      tensor.copy_(flat.narrow(0, at, tensor.numel()).view(tensor.sizes()));
      at += tensor.numel();
    }
  }

  void compress(const std::vector<at::Tensor>& gradients,
                const std::vector<at::Tensor>& parameters) {
    struct Compressed {
      at::Tensor gradient;
      Factor* factor = nullptr;
      at::Tensor matrix;
    };

    std::vector<at::Tensor> whole;
    std::vector<Compressed> compressed;
    std::vector<at::Tensor> ps;
    std::vector<at::Tensor> qs;
    for (std::size_t i = 0; i < gradients.size(); ++i) {
      const auto found = numbers_.find(parameters[i].unsafeGetTensorImpl());
      if (found == numbers_.end()) {
        whole.push_back(gradients[i]);
        continue;
      }
      Factor& factor = factors_.at(found->second);
      at::Tensor matrix =
          gradients[i].reshape({factor.error.size(0), factor.error.size(1)}).to(at::kFloat) +
          factor.error;
      orthogonalise(factor.q);
      ps.push_back(matrix.matmul(factor.q));
      qs.push_back(factor.q);
      compressed.push_back({gradients[i], &factor, std::move(matrix)});
    }
    sum(whole);
    sum(ps);
    for (std::size_t i = 0; i < compressed.size(); ++i) {
      orthogonalise(ps[i]);
      qs[i].copy_(compressed[i].matrix.t().matmul(ps[i]));
    }
    sum(qs);
    const auto ranks = static_cast<double>(state_.group->getSize());
    for (std::size_t i = 0; i < compressed.size(); ++i) {
      const at::Tensor approximation = ps[i].matmul(qs[i].t());
      compressed[i].factor->error.copy_(compressed[i].matrix - approximation / ranks);
      compressed[i].gradient.copy_(approximation.view(compressed[i].gradient.sizes()));
    }
  }

  HookSpec spec_;
  bool compress_ = false;
  std::unordered_map<at::TensorImpl*, std::size_t> numbers_;  // of the parameters below
  std::map<std::size_t, Factor> factors_;                     // of those that are compressed
};

}  // namespace

std::unique_ptr<CommunicationHook> make_power_sgd_hook(const HookSpec& spec, HookContext context) {
  return std::make_unique<PowerSgd>(spec, std::move(context));
}

}  // namespace vitsim
