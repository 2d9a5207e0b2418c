#include "calibrate/measurement/series.h"

#include <algorithm>
#include <cmath>
#include <concepts>
#include <type_traits>
#include <utility>

// Every kind of series lists its parameters once, in `parameters`. A writer walks the list to put
// them under their names, a reader to take them from there. What a reader cannot take stays among
// the sample's other parameters; a sample that lacks what its kind needs stays unknown as a whole.

namespace vitsim {

namespace {

/// Whole numbers that a double holds exactly.
std::optional<std::int64_t> whole(double value) {
  constexpr double kMost = 9e15;
  if (!(std::abs(value) < kMost) || value != std::floor(value) ||
      (value == 0 && std::signbit(value))) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(value);
}

std::optional<std::size_t> index_in(std::span<const std::string_view> names,
                                    std::string_view wanted) {
  const auto found = std::ranges::find(names, wanted);
  return found == names.end() ? std::nullopt
                              : std::optional(static_cast<std::size_t>(found - names.begin()));
}

/// Moves parameters from a typed series into a plain sample.
class Writer {
 public:
  explicit Writer(PlainSample& plain) : plain_(plain) {}

  void operator()(const char* key, const std::string& text) {
    if (!text.empty()) {
      plain_.text[key] = text;
    }
  }

  template <typename Number>
  requires std::is_arithmetic_v<Number>

  void operator()(const char* key, Number value) {
    plain_.number[key] = static_cast<double>(value);
  }

  void operator()(const char* key, Precision precision) {
    plain_.text[key] = std::string(name(precision));
  }

  void operator()(const char* key, OverlapSeries::State state) {
    plain_.text[key] = state == OverlapSeries::State::kAlone ? "alone" : "beside";
  }

  void operator()(const char* key, KernelKind kind) { plain_.text[key] = std::string(name(kind)); }

  void operator()(const char* key, StepPart part) { plain_.text[key] = std::string(name(part)); }

  template <typename Value>
  void operator()(const char* key, const std::optional<Value>& value) {
    if (value) {
      (*this)(key, *value);
    }
  }

  void needed(const char* key, const auto& value) { (*this)(key, value); }

  void rest(const std::map<std::string, double>& numbers) {
    for (const auto& [key, value] : numbers) {
      plain_.number[key] = value;
    }
  }

 private:
  PlainSample& plain_;
};

/// Moves parameters from a plain sample into a typed series.
class SeriesReader {
 public:
  explicit SeriesReader(PlainSample& plain) : plain_(plain) {}

  bool operator()(const char* key, std::string& text) {
    const auto found = plain_.text.find(key);
    if (found == plain_.text.end() || found->second.empty()) {
      return false;
    }
    text = std::move(found->second);
    plain_.text.erase(found);
    return true;
  }

  bool operator()(const char* key, std::int64_t& value) {
    return take_number(key, value, [](double number) { return whole(number); });
  }

  bool operator()(const char* key, double& value) {
    return take_number(key, value, [](double number) { return std::optional(number); });
  }

  bool operator()(const char* key, bool& value) {
    return take_number(key, value, [](double number) -> std::optional<bool> {
      const auto truth = whole(number);
      return truth == 0 || truth == 1 ? std::optional(truth == 1) : std::nullopt;
    });
  }

  bool operator()(const char* key, Precision& precision) {
    return take_text(key, precision, precision_from_name);
  }

  bool operator()(const char* key, KernelKind& kind) {
    return take_text(key, kind, [](std::string_view text) -> std::optional<KernelKind> {
      const auto index = index_in(kKernelKindNames, text);
      return index ? std::optional(static_cast<KernelKind>(*index)) : std::nullopt;
    });
  }

  bool operator()(const char* key, StepPart& part) {
    return take_text(key, part, [](std::string_view text) -> std::optional<StepPart> {
      const auto index = index_in(kStepPartNames, text);
      return index ? std::optional(static_cast<StepPart>(*index)) : std::nullopt;
    });
  }

  bool operator()(const char* key, OverlapSeries::State& state) {
    return take_text(key, state, [](std::string_view text) -> std::optional<OverlapSeries::State> {
      if (text == "alone") {
        return OverlapSeries::State::kAlone;
      }
      return text == "beside" ? std::optional(OverlapSeries::State::kBeside) : std::nullopt;
    });
  }

  template <typename Value>
  bool operator()(const char* key, std::optional<Value>& value) {
    Value found{};
    const bool taken = (*this)(key, found);
    if (taken) {
      value = found;
    }
    return taken;
  }

  void needed(const char* key, auto& value) { complete_ = (*this)(key, value) && complete_; }

  void rest(std::map<std::string, double>& numbers) { numbers = std::exchange(plain_.number, {}); }

  [[nodiscard]] bool complete() const { return complete_; }

 private:
  template <typename Value, typename Convert>
  bool take_number(const char* key, Value& value, Convert convert) {
    const auto found = plain_.number.find(key);
    if (found == plain_.number.end()) {
      return false;
    }
    const auto converted = convert(found->second);
    if (converted) {
      value = *converted;
      plain_.number.erase(found);
    }
    return converted.has_value();
  }

  template <typename Value, typename Convert>
  bool take_text(const char* key, Value& value, Convert convert) {
    const auto found = plain_.text.find(key);
    if (found == plain_.text.end()) {
      return false;
    }
    const auto converted = convert(found->second);
    if (converted) {
      value = *converted;
      plain_.text.erase(found);
    }
    return converted.has_value();
  }

  PlainSample& plain_;
  bool complete_ = true;
};

template <typename Kind, typename Wanted>
concept Is = std::same_as<std::remove_const_t<Kind>, Wanted>;

void parameters(Is<PhaseSeries> auto& series, auto& take) {
  take.needed("rank", series.rank);
  take("unit", series.unit);
}

void parameters(Is<StepSeries> auto& series, auto& take) {
  take.needed("rank", series.rank);
  take("unit", series.unit);
}

void parameters(Is<KernelSeries> auto& series, auto& take) {
  take.needed("kind", series.kind);
  take.needed("part", series.part);
  take.needed("rank", series.rank);
}

void parameters(Is<EpochSeries> auto&, auto&) {}

void parameters(Is<CollectiveSeries> auto& series, auto& take) {
  take.needed("bytes", series.bytes);
  take("ranks", series.ranks);
  take("nodes", series.nodes);
  take("one_node", series.one_node);
  take("rank", series.rank);
  take("link", series.link);
  take("gpu", series.gpu);
  take("devices", series.devices);
  take("backend", series.backend);
  take("place", series.place);
  take("series", series.series);
}

void parameters(Is<PointToPointSeries> auto& series, auto& take) {
  take.needed("bytes", series.bytes);
  take("link", series.link);
  take("from", series.from);
  take("to", series.to);
  take("from_host", series.from_host);
  take("to_host", series.to_host);
  take("from_rank", series.from_rank);
  take("to_rank", series.to_rank);
  take("one_node", series.one_node);
}

void parameters(Is<OverlapSeries> auto& series, auto& take) {
  take.needed("gpu", series.gpu);
  take.needed("state", series.state);
  take.needed("rank", series.rank);
  take("ranks", series.ranks);
  take("batch", series.batch);
  take("bytes", series.bytes);
  take("precision", series.precision);
}

void parameters(Is<OperatorSeries> auto& series, auto& take) {
  take.needed("gpu", series.gpu);
  take.needed("kind", series.kind);
  take.needed("flops", series.flops);
  take.needed("bytes", series.bytes);
  take("pass", series.pass);
  take("precision", series.precision);
  take("rank", series.rank);
  take.rest(series.shape);
}

void parameters(Is<PassSeries> auto& series, auto& take) {
  take.needed("gpu", series.gpu);
  take.needed("layers", series.model.layers);
  take.needed("width", series.model.width);
  take.needed("heads", series.model.heads);
  take.needed("mlp", series.model.mlp);
  take.needed("patch", series.model.patch);
  take.needed("image_size", series.model.image_size);
  take.needed("batch", series.batch);
  take.needed("precision", series.precision);
  take("model", series.model.name);
  take("classes", series.classes);
  take("optimizer", series.optimizer);
  take("torch", series.torch);
}

void parameters(Is<LoaderSeries> auto& series, auto& take) {
  take.needed("gpu", series.gpu);
  take.needed("dataset", series.dataset);
  take.needed("image_size", series.image_size);
  take.needed("channels", series.channels);
  take.needed("workers", series.workers);
  take.needed("cores", series.cores);
  take.needed("compute_threads", series.compute_threads);
  take("rank", series.rank);
}

void parameters(Is<ParallelStepSeries> auto& series, auto& take) {
  take.needed("gpu", series.gpu);
  take.needed("layers", series.model.layers);
  take.needed("width", series.model.width);
  take.needed("heads", series.model.heads);
  take.needed("mlp", series.model.mlp);
  take.needed("tokens", series.model.text_tokens);
  take.needed("vocabulary", series.model.vocabulary);
  take.needed("precision", series.precision);
  take.needed("micro_batch", series.micro_batch);
  take.needed("micro_batches", series.micro_batches);
  take.needed("tensor", series.tensor);
  take.needed("data", series.data);
  take.needed("pipeline", series.pipeline);
}

void parameters(Is<MemoryReading> auto& series, auto& take) {
  take.needed("rank", series.rank);
  take("unit", series.unit);
  take("capacity_bytes", series.capacity_bytes);
  take("allocated_bytes", series.allocated_bytes);
}

void parameters(Is<UnknownSeries> auto&, auto&) {}

std::vector<double>& figures_of(auto& series) {
  return series.seconds;
}

std::vector<double>& figures_of(MemoryReading& reading) {
  return reading.bytes;
}

const std::vector<double>& figures_of(const auto& series) {
  return series.seconds;
}

const std::vector<double>& figures_of(const MemoryReading& reading) {
  return reading.bytes;
}

/// The series of `kind` with its parameters, or nothing where some are missing.
template <typename Kind>
bool take_series(PlainSample& plain, Sample& sample, Kind kind) {
  PlainSample left = plain;
  left.figures.clear();
  SeriesReader reader(left);
  parameters(kind, reader);
  if (!reader.complete()) {
    return false;
  }
  figures_of(kind) = std::move(plain.figures);
  sample.series = std::move(kind);
  sample.other_text = std::move(left.text);
  sample.other_number = std::move(left.number);
  return true;
}

bool take_known(PlainSample& plain, Sample& sample) {
  const std::string& what = plain.what;
  if (what == "epoch") {
    return take_series(plain, sample, EpochSeries());
  }
  if (what == "step") {
    return take_series(plain, sample, StepSeries());
  }
  if (what == "kernels") {
    return take_series(plain, sample, KernelSeries());
  }
  if (what == "load_image") {
    return take_series(plain, sample, LoaderSeries());
  }
  if (what == "memory") {
    return take_series(plain, sample, MemoryReading());
  }
  if (what == "operator") {
    return take_series(plain, sample, OperatorSeries());
  }
  if (what == "point_to_point") {
    return take_series(plain, sample, PointToPointSeries());
  }
  if (what == "forward_pass" || what == "train_step") {
    const bool forward = what == "forward_pass";
    return take_series(
        plain,
        sample,
        PassSeries{.kind = forward ? PassSeries::Kind::kForward : PassSeries::Kind::kTrainStep,
                   .model = {.name = ""}});
  }
  if (what == "parallel_step") {
    return take_series(plain, sample, ParallelStepSeries{.model = {.causal = true}});
  }
  if (what == "overlap" && plain.text.contains("state")) {
    return take_series(plain, sample, OverlapSeries());
  }
  if (const auto part = index_in(kStepPartNames, what)) {
    return take_series(plain, sample, PhaseSeries{.part = static_cast<StepPart>(*part)});
  }
  if (const auto kind = index_in(kMeasuredCollectiveNames, what)) {
    return take_series(
        plain, sample, CollectiveSeries{.kind = static_cast<MeasuredCollective>(*kind)});
  }
  return false;
}

struct Name {
  std::string operator()(const PhaseSeries& series) const { return std::string(name(series.part)); }

  std::string operator()(const StepSeries&) const { return "step"; }

  std::string operator()(const KernelSeries&) const { return "kernels"; }

  std::string operator()(const EpochSeries&) const { return "epoch"; }

  std::string operator()(const CollectiveSeries& series) const {
    return std::string(name(series.kind));
  }

  std::string operator()(const PointToPointSeries&) const { return "point_to_point"; }

  std::string operator()(const OverlapSeries&) const { return "overlap"; }

  std::string operator()(const OperatorSeries&) const { return "operator"; }

  std::string operator()(const PassSeries& series) const {
    return series.kind == PassSeries::Kind::kForward ? "forward_pass" : "train_step";
  }

  std::string operator()(const LoaderSeries&) const { return "load_image"; }

  std::string operator()(const ParallelStepSeries&) const { return "parallel_step"; }

  std::string operator()(const MemoryReading&) const { return "memory"; }

  std::string operator()(const UnknownSeries& series) const { return series.what; }
};

}  // namespace

std::optional<StepPart> step_part(Phase phase) {
  const auto index = index_in(kStepPartNames, name(phase));
  return index ? std::optional(static_cast<StepPart>(*index)) : std::nullopt;
}

const CollectiveSeries* Sample::collective(MeasuredCollective kind) const {
  const auto* calls = as<CollectiveSeries>();
  return calls != nullptr && calls->kind == kind ? calls : nullptr;
}

const PhaseSeries* Sample::phase(StepPart part) const {
  const auto* timed = as<PhaseSeries>();
  return timed != nullptr && timed->part == part ? timed : nullptr;
}

std::span<const double> Sample::figures() const {
  return std::visit([](const auto& kind) { return std::span(figures_of(kind)); }, series);
}

std::span<const double> Sample::settled() const {
  const std::span<const double> all = figures();
  if (all.empty()) {
    return all;
  }
  return all.subspan(std::min(static_cast<std::size_t>(warm_up), all.size() - 1));
}

std::optional<std::int64_t> Sample::rank() const {
  return std::visit(
      [](const auto& kind) -> std::optional<std::int64_t> {
        if constexpr (requires { kind.rank; }) {
          return kind.rank;
        } else {
          return std::nullopt;
        }
      },
      series);
}

std::string_view Sample::gpu() const {
  return std::visit(
      [](const auto& kind) -> std::string_view {
        if constexpr (requires { kind.gpu; }) {
          return kind.gpu;
        } else {
          return {};
        }
      },
      series);
}

PlainSample plain(const Sample& sample) {
  PlainSample result{
      .what = what(sample), .text = sample.other_text, .number = sample.other_number};
  std::visit(
      [&](const auto& kind) {
        Writer writer(result);
        parameters(kind, writer);
        result.figures = figures_of(kind);
      },
      sample.series);
  return result;
}

Sample typed(PlainSample plain) {
  Sample sample;
  if (!take_known(plain, sample)) {
    sample.series =
        UnknownSeries{.what = std::move(plain.what), .seconds = std::move(plain.figures)};
    sample.other_text = std::move(plain.text);
    sample.other_number = std::move(plain.number);
  }
  return sample;
}

std::string what(const Sample& sample) {
  return std::visit(Name(), sample.series);
}

}  // namespace vitsim
