#include "trainer/measure/operator_measurement.h"

#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>

#include <ATen/ATen.h>
#include <fmt/format.h>

#include "models/vit/cost_graph.h"
#include "trainer/model.h"
#include "trainer/optimizer.h"

namespace vitsim {

namespace {

constexpr int kOperatorWarmUp = 2;
constexpr int kOperatorLeastCalls = 5;
constexpr int kOperatorMostCalls = 50;
constexpr double kOperatorNarrow = 0.01;
constexpr std::int64_t kTokens = 197;  // 224 pixels in patches of 16, and the class token
constexpr std::int64_t kHeadWidth = 64;

using Dimensions = std::map<std::string, double>;

// One kernel to time: what it is, what it costs on paper, and a call of it.
struct Kernel {
  std::string kind;
  Dimensions number;
  double flops = 0;
  double bytes = 0;
  std::function<void()> call;
};

Dimensions one(const char* key, std::int64_t value) {
  Dimensions number;
  number[key] = static_cast<double>(value);
  return number;
}

Dimensions product(double m, double n, double k) {
  Dimensions number;
  number["m"] = m;
  number["n"] = n;
  number["k"] = k;
  return number;
}

class Kernels {
 public:
  Kernels(const Device& device, Precision precision)
      : options_(at::TensorOptions().device(device.torch_device()).dtype(type(precision))),
        element_(static_cast<double>(c10::elementSize(type(precision)))) {}

  // The tokens of a batch times a weight of columns x inner.
  Kernel gemm(std::int64_t rows, std::int64_t columns, std::int64_t inner) const {
    const at::Tensor x = at::rand({rows, inner}, options_);
    const at::Tensor weight = at::rand({columns, inner}, options_);
    const at::Tensor bias = at::rand({columns}, options_);
    const auto m = static_cast<double>(rows);
    const auto n = static_cast<double>(columns);
    const auto k = static_cast<double>(inner);
    return {.kind = "gemm",
            .number = product(m, n, k),
            .flops = 2 * m * n * k,
            .bytes = element_ * (m * k + n * k + m * n),
            .call = [=] { at::linear(x, weight, bias); }};
  }

  Kernel attention(std::int64_t batch, std::int64_t heads) const {
    const at::Tensor q = at::rand({batch, heads, kTokens, kHeadWidth}, options_);
    const at::Tensor k = at::rand_like(q);
    const at::Tensor v = at::rand_like(q);
    const double elements = static_cast<double>(q.numel());
    Dimensions number;
    number["batch"] = static_cast<double>(batch);
    number["heads"] = static_cast<double>(heads);
    number["tokens"] = static_cast<double>(kTokens);
    number["head_width"] = static_cast<double>(kHeadWidth);
    return {.kind = "attention",
            .number = number,
            .flops = 4 * elements * static_cast<double>(kTokens),
            .bytes = 4 * element_ * elements,
            .call = [=] { at::scaled_dot_product_attention(q, k, v); }};
  }

  Kernel layer_norm(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    const at::Tensor weight = at::rand({width}, options_);
    const at::Tensor bias = at::rand({width}, options_);
    return streaming(
        "layer_norm", rows, width, 2, [=] { at::layer_norm(x, {x.size(1)}, weight, bias, 1e-6); });
  }

  Kernel gelu(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    return streaming("gelu", rows, width, 2, [=] { at::gelu(x); });
  }

  Kernel add(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    const at::Tensor y = at::rand_like(x);
    return streaming("elementwise", rows, width, 3, [=] { at::add(x, y); });
  }

  Kernel copy(std::int64_t bytes) const {
    const at::Tensor x = at::zeros({bytes / static_cast<std::int64_t>(element_)}, options_);
    const at::Tensor y = at::zeros_like(x);
    return {.kind = "copy",
            .number = one("size", bytes),
            .bytes = 2 * static_cast<double>(bytes),
            .call = [=] { y.copy_(x); }};
  }

 private:
  static at::ScalarType type(Precision precision) {
    return arithmetic_bytes(precision) == Bytes(4)                             ? at::kFloat
           : precision == Precision::kFp16 || precision == Precision::kAmpFp16 ? at::kHalf
                                                                               : at::kBFloat16;
  }

  Kernel streaming(std::string kind,
                   std::int64_t rows,
                   std::int64_t width,
                   double passes,
                   std::function<void()> call) const {
    const auto elements = static_cast<double>(rows * width);
    Dimensions number = one("rows", rows);
    number["width"] = static_cast<double>(width);
    return {.kind = std::move(kind),
            .number = number,
            .bytes = passes * element_ * elements,
            .call = std::move(call)};
  }

  at::TensorOptions options_;
  double element_;
};

// AdamW on one tensor of so many parameters.
Kernel adamw(const Device& device, std::int64_t parameters) {
  const auto options = at::TensorOptions().device(device.torch_device()).dtype(at::kFloat);
  const std::vector<Slice> slices = {
      {.weight = at::zeros({parameters}, options), .gradient = at::rand({parameters}, options)}};
  const std::shared_ptr<Optimizer> optimizer =
      make_optimizer({.kind = OptimizerKind::kAdamW}, slices, 1, [](at::Tensor&) {});
  return {.kind = "optimizer",
          .number = one("parameters", parameters),
          .bytes = update_bytes_per_parameter(OptimizerKind::kAdamW).value() *
                   static_cast<double>(parameters),
          .call = [=] { optimizer->update(slices, 1e-4); }};
}

std::vector<std::function<Kernel()>> all_kernels(const Device& device, Precision precision) {
  const Kernels kernels(device, precision);
  std::vector<std::function<Kernel()>> makers;
  for (const std::int64_t width : {768, 384, 192, 1024}) {
    for (const std::int64_t images : {8, 1}) {
      const std::int64_t rows = images * kTokens;
      // Query, key and value at once; projection; up and down in the MLP.
      makers.push_back([=] { return kernels.gemm(rows, 3 * width, width); });
      makers.push_back([=] { return kernels.gemm(rows, width, width); });
      makers.push_back([=] { return kernels.gemm(rows, 4 * width, width); });
      makers.push_back([=] { return kernels.gemm(rows, width, 4 * width); });
      makers.push_back([=] { return kernels.attention(images, width / kHeadWidth); });
      makers.push_back([=] { return kernels.layer_norm(rows, width); });
      makers.push_back([=] { return kernels.gelu(rows, 4 * width); });
      makers.push_back([=] { return kernels.add(rows, width); });
    }
  }
  for (const std::int64_t parameters : {1LL << 20, 16LL << 20}) {
    makers.push_back([=, &device] { return adamw(device, parameters); });
  }
  for (const std::int64_t bytes : {1LL << 20, 64LL << 20}) {
    makers.push_back([=] { return kernels.copy(bytes); });
  }
  return makers;
}

std::vector<double> time_kernel(Bench& bench, const Kernel& kernel, double until_s) {
  std::vector<double> seconds;
  bool again = true;
  while (again) {
    const std::int64_t begin = host_nanoseconds();
    kernel.call();
    bench.device().synchronize();
    seconds.push_back(static_cast<double>(host_nanoseconds() - begin) * 1e-9);
    const auto counted =
        std::span(seconds).subspan(std::min<std::size_t>(kOperatorWarmUp, seconds.size()));
    again = counted.size() < kOperatorLeastCalls ||
            (counted.size() < kOperatorMostCalls && median_uncertainty(counted) > kOperatorNarrow &&
             bench.budget().elapsed_s() < until_s);
  }
  return seconds;
}

}  // namespace

void measure_operators(Bench& bench, const std::vector<Precision>& precisions, double until_s) {
  const at::NoGradGuard no_grad;
  for (const Precision precision : precisions) {
    bench.device().prepare(precision);
    const auto makers = all_kernels(bench.device(), precision);
    bench.progress(fmt::format("operators in {}", name(precision)));
    const std::size_t first_sample = bench.measured.samples.size();
    bench.begin_timing();
    std::size_t done = 0;
    for (const auto& make : makers) {
      const double left_s = until_s - bench.budget().elapsed_s();
      if (!bench.agree(left_s > 0)) {
        break;
      }
      const Kernel kernel = make();
      std::vector<double> seconds = time_kernel(
          bench,
          kernel,
          bench.budget().elapsed_s() + left_s / static_cast<double>(makers.size() - done));
      bench.measured.samples.push_back({.series = OperatorSeries{.gpu = bench.name(),
                                                                 .kind = kernel.kind,
                                                                 .precision = precision,
                                                                 .flops = kernel.flops,
                                                                 .bytes = kernel.bytes,
                                                                 .rank = bench.session().rank(),
                                                                 .shape = kernel.number,
                                                                 .seconds = std::move(seconds)},
                                        .warm_up = kOperatorWarmUp});
      ++done;
    }
    bench.end_timing(first_sample);
    if (done < makers.size()) {
      bench.could_not(fmt::format("not measured: {} of {} operators in {}: no time",
                                  makers.size() - done,
                                  makers.size(),
                                  name(precision)));
    }
  }
  bench.keep();
}

}  // namespace vitsim
