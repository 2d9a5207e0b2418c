// Rates of this GPU's operators in this precision, corrected by the steps that were measured.
//
// What a measured pass takes beyond the sum of its kernels is a residual of its place: width of the
// model, tokens of an image, tokens of the batch. Another place takes the residuals' mean, weighted
// by exp(-d^2 / 2) with d the distance in logarithms, beside one residual of 0 with the weight of a
// half: near a measurement its residual, far from all the kernels' sum. Passes that the host ruled
// say nothing of kernels and do not count. The error grows with the distance likewise.
#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "calibrate/compute/compute_sources.h"

namespace vitsim {

namespace {

// Where rates do not carry what leaving models out shows.
constexpr double kRateError = 0.06;
// Widths apart by this factor, or token counts, tell half as much of one another.
constexpr double kWidthScale = 0.6;
constexpr double kTokenScale = 0.9;
constexpr double kZeroWeight = 0.5;

struct Place {
  double log_width;
  double log_tokens;
  double log_batch_tokens;

  Place(const VitSpec& model, std::int64_t batch)
      : log_width(std::log(static_cast<double>(model.width))),
        log_tokens(std::log(static_cast<double>(model.tokens()))),
        log_batch_tokens(log_tokens + std::log(static_cast<double>(batch))) {}

  [[nodiscard]] double nearness(const Place& other) const {
    const double width = (log_width - other.log_width) / kWidthScale;
    const double tokens = (log_tokens - other.log_tokens) / kTokenScale;
    const double batch = (log_batch_tokens - other.log_batch_tokens) / kTokenScale;
    return std::exp(-(width * width + tokens * tokens + batch * batch) / 2);
  }
};

class Correction {
 public:
  Correction(const GpuProfile& profile, const OperatorRates& rates, const HostLaunch& host) {
    for (const StepCurve& curve : profile.steps) {
      if (curve.precision != rates.precision) {
        continue;
      }
      for (const Pass pass : {Pass::kForward, Pass::kBackward}) {
        const auto operators = pass_operators(rates, curve.model, pass);
        for (const StepPoint& point : curve.points) {
          const PassTime time = pass_time(rates, host, operators, pass, point.micro_batch);
          const Seconds measured = pass == Pass::kForward ? point.forward : point.backward;
          if (time.host_share() < 0.5 && measured > Seconds(0)) {
            residuals_.push_back({.place = Place(curve.model, point.micro_batch),
                                  .pass = pass,
                                  .log_ratio = std::log(measured / time.total())});
          }
        }
      }
    }
  }

  [[nodiscard]] double factor(const VitSpec& model, Pass pass, std::int64_t batch) const {
    const Place place(model, batch);
    double weights = kZeroWeight;
    double sum = 0;
    for (const Residual& one : residuals_) {
      if (one.pass == pass) {
        const double weight = one.place.nearness(place);
        weights += weight;
        sum += weight * one.log_ratio;
      }
    }
    return std::exp(sum / weights);
  }

  /// 1 far from everything that was measured, towards 0 beside it.
  [[nodiscard]] double distance(const VitSpec& model, std::int64_t batch) const {
    const Place place(model, batch);
    double nearest = 0;
    for (const Residual& one : residuals_) {
      nearest = std::max(nearest, one.place.nearness(place));
    }
    return std::sqrt(1 - 0.9 * nearest);
  }

 private:
  struct Residual {
    Place place;
    Pass pass;
    double log_ratio;
  };

  std::vector<Residual> residuals_;
};

// Rates turned into passes of one model.
class OperatorModel final : public ComputeModel {
 public:
  OperatorModel(const VitSpec& model,
                const OperatorRates& rates,
                const HostLaunch& host,
                std::optional<Correction> correction,
                const std::optional<GpuSheet>& sheet,
                Seconds load_per_sample)
      : model_(model),
        rates_(rates),
        host_(host),
        correction_(std::move(correction)),
        load_per_sample_(load_per_sample),
        forward_(pass_operators(rates_, model, Pass::kForward)),
        backward_(pass_operators(rates_, model, Pass::kBackward)) {
    if (sheet) {
      forward_limit_.emplace(*sheet, model, rates_.precision, Pass::kForward);
      backward_limit_.emplace(*sheet, model, rates_.precision, Pass::kBackward);
    }
  }

  [[nodiscard]] MicroBatchTimes at(std::int64_t samples) const override {
    if (samples <= 0) {
      return {};
    }
    return {.data_load = load_per_sample_ * static_cast<double>(samples),
            .forward = seconds(Pass::kForward, samples),
            .backward = seconds(Pass::kBackward, samples)};
  }

  /// Rates without the precision's own unit: libraries take whichever is faster.
  std::optional<OperatorRates> plain;

  // How much of a step's logarithm the host decides.
  [[nodiscard]] double host_share(std::int64_t samples) const {
    const PassTime forward = pass_time(rates_, host_, forward_, Pass::kForward, samples);
    const PassTime backward = pass_time(rates_, host_, backward_, Pass::kBackward, samples);
    return (forward.host_share() * forward.total() + backward.host_share() * backward.total()) /
           (forward.total() + backward.total());
  }

 private:
  // Of a token model's head the host gets ahead only within the head itself.
  [[nodiscard]] Seconds token_seconds(Pass pass, std::int64_t samples) const {
    const ModelPart whole(model_);
    const auto of = [&](const ModelPart& part) {
      return part_time(rates_, host_, part, pass, samples).total();
    };
    return of(whole.only_blocks()) + of(whole.only_ends());
  }

  [[nodiscard]] Seconds seconds(Pass pass, std::int64_t samples) const {
    if (model_.is_token_model()) {
      return token_seconds(pass, samples);
    }
    const auto& operators = pass == Pass::kForward ? forward_ : backward_;
    PassTime time = pass_time(rates_, host_, operators, pass, samples);
    if (plain) {
      time.kernels =
          std::min(time.kernels, pass_time(*plain, host_, operators, pass, samples).kernels);
    }
    if (correction_) {
      time.kernels = time.kernels * correction_->factor(model_, pass, samples);
    }
    const auto& limit = pass == Pass::kForward ? forward_limit_ : backward_limit_;
    return limit ? std::max(time.total(), limit->at(samples)) : time.total();
  }

  VitSpec model_;
  OperatorRates rates_;
  HostLaunch host_;
  std::optional<Correction> correction_;
  std::optional<PhysicalLimit> forward_limit_;
  std::optional<PhysicalLimit> backward_limit_;
  Seconds load_per_sample_;
  std::vector<Operator> forward_;
  std::vector<Operator> backward_;
};

std::optional<GpuSheet> find_sheet(const std::string& gpu, const ProfileSet& profiles) {
  const auto sheet = profiles.sheets.find(gpu);
  return sheet == profiles.sheets.end() ? std::nullopt : std::optional(sheet->second);
}

// An update whose rate nobody measured is four fifths of the memory's.
Seconds update_seconds(const std::optional<OperatorCurve>& curve,
                       const OperatorRates& rates,
                       const TrainingSpec& training) {
  const OperatorCurve typical{
      .kind = "optimizer", .precision = training.precision, .bytes_per_s = 0.8 * rates.memory};
  return Seconds(
      optimizer_seconds(curve.value_or(typical), training.model, training.optimizer.kind));
}

std::int64_t typical_batch(const TrainingSpec& training) {
  return training.micro_batch.empty() ? 1 : std::max<std::int64_t>(training.micro_batch.front(), 1);
}

}  // namespace

const OperatorRates* find_rates(const GpuProfile& profile, Precision precision) {
  const auto found = std::ranges::find(profile.rates, precision, &OperatorRates::precision);
  return found == profile.rates.end() ? nullptr : &*found;
}

std::optional<PassFunction> pass_function(const GpuProfile& profile,
                                          Precision precision,
                                          const ProfileSet& profiles) {
  if (const OperatorRates* rates = find_rates(profile, precision)) {
    return [rates = *rates, host = host_launch(profile.name, profiles)](
               const ModelPart& part, Pass pass, std::int64_t batch) {
      return part_time(rates, host, part, pass, batch);
    };
  }
  if (const auto curves = pass_curves(profile, precision)) {
    return [curves = *curves](const ModelPart& part, Pass pass, std::int64_t batch) {
      return PassTime{.kernels = Seconds(pass == Pass::kForward
                                             ? pass_seconds(curves.forward, part, batch, 1)
                                             : pass_seconds(curves.backward, part, batch, 2)),
                      .host = Seconds(0)};
    };
  }
  return std::nullopt;
}

std::unique_ptr<ComputeModel> operator_model(const GpuProfile& profile,
                                             const TrainingSpec& training,
                                             const ProfileSet& profiles) {
  const OperatorRates* rates = find_rates(profile, training.precision);
  if (rates == nullptr) {
    return nullptr;
  }
  const HostLaunch host = host_launch(profile.name, profiles);
  Correction correction(profile, *rates, host);
  const double distance = correction.distance(training.model, typical_batch(training));
  auto model =
      std::make_unique<OperatorModel>(training.model,
                                      *rates,
                                      host,
                                      std::move(correction),
                                      find_sheet(profile.name, profiles),
                                      load_per_sample(profile.name, training.model, profiles));
  model->optimizer =
      update_seconds(optimizer_curve(profile, training.precision, profiles), *rates, training);
  const Seconds copies = measured_copies(profile, training);
  model->other = copies > Seconds(0) ? copies : gradient_copies(training, rates->memory);
  const double error = rates->error.value_or(kRateError) * distance;
  const double host_share = model->host_share(typical_batch(training));
  model->spread = profile.spread;
  widen(model->spread, std::hypot(error, host_share * host.sigma.value_or(0)));
  model->spread.run_degrees = model->spread.run_degrees.value_or(6);
  model->basis = {
      .kind = "operator-rates",
      .detail = fmt::format("{} in {} was not measured: from the rates of this GPU's "
                            "operators, fitted to other models{}",
                            training.model.name,
                            name(training.precision),
                            host_share > 0.5 ? "; launches by the host take longest" : ""),
      .error = error};
  return model;
}

std::unique_ptr<ComputeModel> scaled_model(const std::string& gpu,
                                           const GpuSheet& sheet,
                                           const TrainingSpec& training,
                                           const ProfileSet& profiles) {
  const auto scaled = scaled_rates(gpu, sheet, training.precision, profiles);
  if (!scaled) {
    return nullptr;
  }
  const auto own = profiles.gpus.find(gpu);
  const HostLaunch host = host_launch(gpu, profiles);
  auto model = std::make_unique<OperatorModel>(training.model,
                                               scaled->rates,
                                               host,
                                               std::nullopt,
                                               sheet,
                                               load_per_sample(gpu, training.model, profiles));
  if (arithmetic_unit(sheet, training.precision) != ArithmeticUnit::kPlain) {
    model->plain =
        scaled_rates(gpu, sheet, training.precision, ArithmeticUnit::kPlain, profiles)->rates;
  }
  const auto update = own == profiles.gpus.end()
                          ? std::nullopt
                          : optimizer_curve(own->second, training.precision, profiles);
  model->optimizer = update_seconds(update, scaled->rates, training);
  model->other = gradient_copies(training, scaled->rates.memory);
  const double host_share = model->host_share(typical_batch(training));
  if (scaled->own) {
    model->spread = own->second.spread;
  }
  model->part_passes = [rates = scaled->rates, host](
                           const ModelPart& part, Pass pass, std::int64_t batch) {
    return part_time(rates, host, part, pass, batch);
  };
  widen(model->spread, std::hypot(scaled->error, host_share * host.sigma.value_or(0)));
  model->spread.run_degrees =
      std::max(model->spread.run_degrees.value_or(0),
               static_cast<int>(std::max<std::size_t>(scaled->donors.size(), 3)));
  std::string detail =
      scaled->own ? fmt::format(
                        "this GPU was measured in other precisions than {}: scaled by the peaks of "
                        "its data sheet",
                        name(training.precision))
                  : fmt::format(
                        "nothing was measured on a {} in {}: its data sheet times what {} reach{} "
                        "of theirs; the host's launches are those of other hosts",
                        gpu,
                        name(training.precision),
                        fmt::join(scaled->donors, ", "),
                        scaled->donors.size() == 1 ? "es" : "");
  if (is_emulated(sheet, training.precision)) {
    detail += fmt::format("; it has no unit for {}: computed as fp32", name(training.precision));
  }
  model->basis = {.kind = "data-sheet",
                  .detail = std::move(detail),
                  .error = std::hypot(scaled->error, host_share * host.sigma.value_or(0))};
  return model;
}

}  // namespace vitsim
