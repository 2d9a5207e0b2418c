// Single kernels by the device's own clock. A mark stands before and behind a few calls in a row; a
// GPU is held up first, so that the host has launched them all by the time the first one begins:
// else marks around kernels of microseconds would tell the host's launches. What the host takes for
// its calls meanwhile is measured too. On a CPU a call is done when it returns, and the same code
// times single calls.
#include "trainer/measure/operator_measurement.h"

#include <algorithm>
#include <functional>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <utility>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/autograd/autograd.h>

#include "models/distribution.h"
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
constexpr std::int64_t kPatch = 16;
constexpr std::int64_t kImageSize = 224;
// Calls between two marks on a GPU, and how long the host may take for each.
constexpr int kCallsInARow = 8;
constexpr Seconds kMostLaunch = microseconds(100);

using Dimensions = std::map<std::string, double>;

// One kernel to time: what it is, what it costs on paper, and a call of it.
struct Kernel {
  std::string kind;
  std::string pass;  // "backward", or empty
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
      : options_(at::TensorOptions().device(device.torch_device()).dtype(product_type(precision))),
        element_(static_cast<double>(c10::elementSize(product_type(precision)))) {}

  // The tokens of a batch times a weight of columns x inner; backward, the gradients of both.
  [[nodiscard]] Kernel gemm(std::int64_t rows, std::int64_t columns, std::int64_t inner) const {
    const at::Tensor x = at::rand({rows, inner}, options_);
    const at::Tensor weight = at::rand({columns, inner}, options_);
    const at::Tensor bias = at::rand({columns}, options_);
    Kernel kernel = gemm_of(rows, columns, inner, 1);
    kernel.call = [=] { at::linear(x, weight, bias); };
    return kernel;
  }

  [[nodiscard]] Kernel gemm_backward(std::int64_t rows,
                                     std::int64_t columns,
                                     std::int64_t inner) const {
    const at::Tensor x = at::rand({rows, inner}, options_);
    const at::Tensor weight = at::rand({columns, inner}, options_);
    const at::Tensor gradient = at::rand({rows, columns}, options_);
    Kernel kernel = gemm_of(rows, columns, inner, 2);
    kernel.pass = "backward";
    kernel.call = [=] {
      at::mm(gradient, weight);
      at::mm(gradient.t(), x);
    };
    return kernel;
  }

  // The gradient of a product's bias.
  [[nodiscard]] Kernel reduce(std::int64_t rows, std::int64_t width) const {
    const at::Tensor gradient = at::rand({rows, width}, options_);
    Kernel kernel = streaming("reduce", rows, width, 1, [=] { gradient.sum(0); });
    kernel.pass = "backward";
    return kernel;
  }

  [[nodiscard]] Kernel attention(std::int64_t batch, std::int64_t heads) const {
    const at::Tensor q = at::rand({batch, heads, kTokens, kHeadWidth}, options_);
    const at::Tensor k = at::rand_like(q);
    const at::Tensor v = at::rand_like(q);
    Kernel kernel = attention_of(q, 1, 4);
    kernel.call = [=] { at::scaled_dot_product_attention(q, k, v); };
    return kernel;
  }

  // Which kernel it is depends on forward's choice, so that autograd launches it. It computes the
  // probabilities again: five products where forward has two.
  [[nodiscard]] Kernel attention_backward(std::int64_t batch, std::int64_t heads) const {
    const auto input = [&] {
      return at::rand({batch, heads, kTokens, kHeadWidth}, options_).set_requires_grad(true);
    };
    const std::vector<at::Tensor> inputs = {input(), input(), input()};
    const at::AutoGradMode with_graph(true);
    const at::Tensor output = at::scaled_dot_product_attention(inputs[0], inputs[1], inputs[2]);
    const at::Tensor gradient = at::rand_like(output);
    Kernel kernel = attention_of(output, 2.5, 8);
    kernel.pass = "backward";
    kernel.call = [=] {
      torch::autograd::grad({output}, inputs, {gradient}, /*retain_graph=*/true);
    };
    return kernel;
  }

  [[nodiscard]] Kernel layer_norm(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    const at::Tensor weight = at::rand({width}, options_);
    const at::Tensor bias = at::rand({width}, options_);
    return streaming(
        "layer_norm", rows, width, 2, [=] { at::layer_norm(x, {x.size(1)}, weight, bias, 1e-6); });
  }

  // Its input's gradient and its parameters' in one call, which reads input and gradient twice.
  [[nodiscard]] Kernel layer_norm_backward(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    const at::Tensor weight = at::rand({width}, options_);
    const at::Tensor bias = at::rand({width}, options_);
    const at::Tensor gradient = at::rand_like(x);
    const auto [y, mean, rstd] = at::native_layer_norm(x, {width}, weight, bias, 1e-6);
    Kernel kernel = streaming("layer_norm", rows, width, 5, [=, mean = mean, rstd = rstd] {
      at::native_layer_norm_backward(
          gradient, x, {width}, mean, rstd, weight, bias, {true, true, true});
    });
    kernel.pass = "backward";
    return kernel;
  }

  [[nodiscard]] Kernel gelu(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    return streaming("gelu", rows, width, 2, [=] { at::gelu(x); });
  }

  [[nodiscard]] Kernel gelu_backward(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    const at::Tensor gradient = at::rand_like(x);
    Kernel kernel = streaming("gelu", rows, width, 3, [=] { at::gelu_backward(gradient, x); });
    kernel.pass = "backward";
    return kernel;
  }

  [[nodiscard]] Kernel add(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    const at::Tensor y = at::rand_like(x);
    return streaming("elementwise", rows, width, 3, [=] { at::add(x, y); });
  }

  [[nodiscard]] Kernel fill(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_);
    return streaming("fill", rows, width, 1, [=] { x.zero_(); });
  }

  // What autocast does with a product's input, from fp32.
  [[nodiscard]] Kernel cast(std::int64_t rows, std::int64_t width) const {
    const at::Tensor x = at::rand({rows, width}, options_.dtype(at::kFloat));
    const at::ScalarType to = c10::typeMetaToScalarType(options_.dtype());
    return streaming("cast", rows, width, 1 + 4 / element_, [=] { x.to(to); });
  }

  // Patches of images to tokens, and the gradient of its weights: images need none.
  [[nodiscard]] Kernel convolution(std::int64_t images, std::int64_t width) const {
    const at::Tensor x = at::rand({images, 3, kImageSize, kImageSize}, options_);
    const at::Tensor weight = at::rand({width, 3, kPatch, kPatch}, options_);
    const at::Tensor bias = at::rand({width}, options_);
    Kernel kernel = convolution_of(x, weight);
    kernel.call = [=] { at::conv2d(x, weight, bias, kPatch); };
    return kernel;
  }

  [[nodiscard]] Kernel convolution_backward(std::int64_t images, std::int64_t width) const {
    const at::Tensor x = at::rand({images, 3, kImageSize, kImageSize}, options_);
    const at::Tensor weight = at::rand({width, 3, kPatch, kPatch}, options_);
    const std::int64_t side = kImageSize / kPatch;
    const at::Tensor gradient = at::rand({images, width, side, side}, options_);
    Kernel kernel = convolution_of(x, weight);
    kernel.pass = "backward";
    kernel.call = [=] {
      const std::vector<std::int64_t> bias_sizes = {weight.size(0)};
      at::convolution_backward(gradient,
                               x,
                               weight,
                               bias_sizes,
                               /*stride=*/{kPatch, kPatch},
                               /*padding=*/{0, 0},
                               /*dilation=*/{1, 1},
                               /*transposed=*/false,
                               /*output_padding=*/{0, 0},
                               /*groups=*/1,
                               {false, true, true});
    };
    return kernel;
  }

  [[nodiscard]] Kernel copy(std::int64_t bytes) const {
    const at::Tensor x = at::zeros({bytes / static_cast<std::int64_t>(element_)}, options_);
    const at::Tensor y = at::zeros_like(x);
    return {.kind = "copy",
            .number = one("size", bytes),
            .bytes = 2 * static_cast<double>(bytes),
            .call = [=] { y.copy_(x); }};
  }

 private:
  [[nodiscard]] Kernel gemm_of(std::int64_t rows,
                               std::int64_t columns,
                               std::int64_t inner,
                               double products) const {
    const auto m = static_cast<double>(rows);
    const auto n = static_cast<double>(columns);
    const auto k = static_cast<double>(inner);
    return {.kind = "gemm",
            .number = product(m, n, k),
            .flops = products * 2 * m * n * k,
            .bytes = products * element_ * (m * k + n * k + m * n)};
  }

  // `tensors`: as large as a query, read or written.
  [[nodiscard]] Kernel attention_of(const at::Tensor& like, double times, double tensors) const {
    const auto elements = static_cast<double>(like.numel());
    Dimensions number;
    number["batch"] = static_cast<double>(like.size(0));
    number["heads"] = static_cast<double>(like.size(1));
    number["tokens"] = static_cast<double>(kTokens);
    number["head_width"] = static_cast<double>(kHeadWidth);
    return {.kind = "attention",
            .number = number,
            .flops = times * 4 * elements * static_cast<double>(kTokens),
            .bytes = tensors * element_ * elements};
  }

  [[nodiscard]] Kernel convolution_of(const at::Tensor& images, const at::Tensor& weight) const {
    constexpr std::int64_t kRow = kImageSize / kPatch;
    const auto patches = static_cast<double>(images.size(0) * kRow * kRow);
    const auto width = static_cast<double>(weight.size(0));
    Dimensions number = one("batch", images.size(0));
    number["width"] = width;
    number["patch"] = static_cast<double>(kPatch);
    return {.kind = "convolution",
            .number = number,
            .flops = 2 * patches * static_cast<double>(weight.numel()),
            .bytes = element_ *
                     (static_cast<double>(images.numel() + weight.numel()) + patches * width)};
  }

  [[nodiscard]] Kernel streaming(std::string kind,
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

// Images as they travel: bytes, from pinned memory.
Kernel host_to_device(const Device& device, std::int64_t images) {
  const std::int64_t bytes = images * 3 * kImageSize * kImageSize;
  const at::Tensor from = at::zeros({bytes}, at::TensorOptions(at::kByte).pinned_memory(true));
  const at::Tensor to =
      at::zeros({bytes}, at::TensorOptions(at::kByte).device(device.torch_device()));
  return {.kind = "host_to_device",
          .number = one("size", bytes),
          .bytes = static_cast<double>(bytes),
          .call = [=] { to.copy_(from, /*non_blocking=*/true); }};
}

std::vector<std::function<Kernel()>> all_kernels(const Device& device, Precision precision) {
  const Kernels kernels(device, precision);
  const bool cpu = device.torch_device().is_cpu();
  const bool short_type = product_type(precision) != at::kFloat;
  std::vector<std::function<Kernel()>> makers;
  if (!cpu) {
    for (const std::int64_t images : {8, 64, 256}) {
      makers.emplace_back([=, &device] { return host_to_device(device, images); });
    }
  }
  for (const std::int64_t width : {768, 384, 192, 1024}) {
    // A GPU that one image does not fill shows nothing of its rates.
    for (const std::int64_t images :
         cpu ? std::vector<std::int64_t>{1, 8} : std::vector<std::int64_t>{64, 8}) {
      const std::int64_t rows = images * kTokens;
      const std::int64_t heads = width / kHeadWidth;
      const auto add_gemm = [&](std::int64_t columns, std::int64_t inner) {
        makers.emplace_back([=] { return kernels.gemm(rows, columns, inner); });
        makers.emplace_back([=] { return kernels.gemm_backward(rows, columns, inner); });
      };
      // Every kind once before the other products of the layer, in case time is short.
      add_gemm(3 * width, width);  // query, key and value at once
      makers.emplace_back([=] { return kernels.attention(images, heads); });
      makers.emplace_back([=] { return kernels.attention_backward(images, heads); });
      makers.emplace_back([=] { return kernels.layer_norm(rows, width); });
      makers.emplace_back([=] { return kernels.layer_norm_backward(rows, width); });
      makers.emplace_back([=] { return kernels.gelu(rows, 4 * width); });
      makers.emplace_back([=] { return kernels.gelu_backward(rows, 4 * width); });
      makers.emplace_back([=] { return kernels.add(rows, width); });
      makers.emplace_back([=] { return kernels.reduce(rows, 4 * width); });
      makers.emplace_back([=] { return kernels.fill(rows, 3 * width); });
      if (short_type) {
        makers.emplace_back([=] { return kernels.cast(rows, width); });
      }
      makers.emplace_back([=] { return kernels.convolution(images, width); });
      makers.emplace_back([=] { return kernels.convolution_backward(images, width); });
      add_gemm(width, width);      // projection
      add_gemm(4 * width, width);  // up and down in the MLP
      add_gemm(width, 4 * width);
    }
  }
  for (const std::int64_t parameters : {1LL << 20, 16LL << 20}) {
    makers.emplace_back([=, &device] { return adamw(device, parameters); });
  }
  for (const std::int64_t bytes : {1LL << 20, 64LL << 20}) {
    makers.emplace_back([=] { return kernels.copy(bytes); });
  }
  return makers;
}

// Seconds of one call, again and again: on the device, and of the host that launches it.
struct KernelTimes {
  std::vector<double> device;
  std::vector<double> host;
};

KernelTimes time_kernel(Bench& bench, const Kernel& kernel, double until_s) {
  Device& device = bench.device();
  const int calls = device.torch_device().is_cpu() ? 1 : kCallsInARow;
  KernelTimes times;
  bool again = true;
  while (again) {
    device.synchronize();
    device.mark();  // the first one after it takes the host's time: not among what is timed
    device.hold(static_cast<double>(calls) * kMostLaunch);
    const Mark begin = device.mark();
    const std::int64_t host_begin = host_nanoseconds();
    for (int call = 0; call < calls; ++call) {
      kernel.call();
    }
    const std::int64_t host_end = host_nanoseconds();
    const Mark end = device.mark();
    device.synchronize();
    times.device.push_back(
        static_cast<double>(device.nanoseconds(end) - device.nanoseconds(begin)) * 1e-9 / calls);
    times.host.push_back(static_cast<double>(host_end - host_begin) * 1e-9 / calls);
    const auto counted = std::span(times.device)
                             .subspan(std::min<std::size_t>(kOperatorWarmUp, times.device.size()));
    again = counted.size() < kOperatorLeastCalls ||
            (counted.size() < kOperatorMostCalls && median_uncertainty(counted) > kOperatorNarrow &&
             bench.budget().elapsed_s() < until_s);
  }
  return times;
}

class OperatorMeasurement {
 public:
  explicit OperatorMeasurement(Bench& bench) : bench_(bench) {}

  void measure(Precision precision, double until_s);

 private:
  void record(const Kernel& kernel, Precision precision, std::vector<double> seconds) {
    bench_.measured.samples.push_back({.series = OperatorSeries{.gpu = bench_.name(),
                                                                .kind = kernel.kind,
                                                                .pass = kernel.pass,
                                                                .precision = precision,
                                                                .flops = kernel.flops,
                                                                .bytes = kernel.bytes,
                                                                .rank = bench_.session().rank(),
                                                                .shape = kernel.number,
                                                                .seconds = std::move(seconds)},
                                       .warm_up = kOperatorWarmUp});
  }

  // What the host takes for a call, one figure for each kernel: of a GPU's host only, as a CPU
  // computes within the call.
  void record_launches(Precision precision) {
    for (const char* pass : {"", "backward"}) {
      if (std::vector<double> seconds = std::exchange(launches_[pass], {}); !seconds.empty()) {
        record({.kind = "launch", .pass = pass}, precision, std::move(seconds));
        bench_.measured.samples.back().warm_up = 0;
      }
    }
  }

  Bench& bench_;
  std::map<std::string, std::vector<double>> launches_;  // by pass
};

void OperatorMeasurement::measure(Precision precision, double until_s) {
  bench_.device().prepare(precision);
  const auto makers = all_kernels(bench_.device(), precision);
  const bool cpu = bench_.device().torch_device().is_cpu();
  bench_.progress(fmt::format("operators in {}", name(precision)));
  const std::size_t first_sample = bench_.measured.samples.size();
  bench_.begin_timing();
  std::size_t done = 0;
  for (const auto& make : makers) {
    const double left_s = until_s - bench_.budget().elapsed_s();
    if (!bench_.agree(left_s > 0)) {
      break;
    }
    const Kernel kernel = make();
    KernelTimes times = time_kernel(
        bench_,
        kernel,
        bench_.budget().elapsed_s() + left_s / static_cast<double>(makers.size() - done));
    record(kernel, precision, std::move(times.device));
    if (!cpu) {
      launches_[kernel.pass].push_back(median(std::span(times.host).subspan(kOperatorWarmUp)));
    }
    ++done;
  }
  record_launches(precision);
  bench_.end_timing(first_sample);
  if (done < makers.size()) {
    bench_.could_not(fmt::format("not measured: {} of {} operators in {}: no time",
                                 makers.size() - done,
                                 makers.size(),
                                 name(precision)));
  }
}

}  // namespace

void measure_operators(Bench& bench, const std::vector<Precision>& precisions, double until_s) {
  const at::NoGradGuard no_grad;
  OperatorMeasurement measurement(bench);
  for (std::size_t i = 0; i < precisions.size(); ++i) {
    const double now_s = bench.budget().elapsed_s();
    measurement.measure(precisions[i],
                        now_s + (until_s - now_s) / static_cast<double>(precisions.size() - i));
  }
  bench.keep();
}

}  // namespace vitsim
