// The joint fit of compute and network from recorded runs.
//
// A data-parallel step without overlap is
//
//   step = max over ranks (load + forward + backward + optimizer + copy) + ring(bytes, N)
//   ring = overhead + 2 (N - 1) m(ceil(bytes / N)),   m(c) = (latency + c / bandwidth) * f(c)
//
// with a correction f(c) for each message size that occurred, pulled towards 1. Unknown are the
// logarithms of forward + backward for each (GPU, model, precision, micro-batch), of latency, of
// bandwidth, and of f. Residuals, all of logarithms:
//
//   1. a rank's logged compute against its curve;
//   2. a rank's AllReduce, its wait for others taken off, against copy + ring, where the rank is of
//      the slowest kind;
//   3. a rank's compute + AllReduce against the slowest rank's compute + ring: this is how a GPU
//      shows that no log names;
//   4. the median epoch of a run without logged phases against the whole;
//   5. AllReduces measured alone against ring.
//
// Cauchy's loss keeps one strange run from dragging its neighbours. What is neglected: overlap (the
// logged runs have none), and that the slowest of N equal GPUs is slower than their mean, which the
// spread of the profile adds at prediction.
#include "calibrate/fit/step_fit.h"

#include <algorithm>
#include <cmath>
#include <optional>
#include <span>

#include "calibrate/fit/least_squares.h"
#include "models/distribution.h"
#include "models/error.h"

namespace vitsim {

namespace {

// Standard deviations of the residuals' logarithms, as seen among repeated runs.
constexpr double kComputeSigma = 0.015;
constexpr double kReduceSigma = 0.02;
constexpr double kEpochSigma = 0.02;
constexpr double kAloneSigma = 0.05;
// Priors: how far a message size may leave the straight line, and what latencies are likely.
constexpr double kCorrectionSigma = 0.08;
constexpr double kLatencyLogSigma = 1.5;
constexpr double kNetworkLatency = 200e-6;
constexpr double kNodeLatency = 20e-6;
// A call's overhead is told from latency by different numbers of ranks only. Inside a machine,
// where NCCL's own tables give it 5 to 10 us, it must not take over what latency explains.
constexpr double kNetworkOverhead = 100e-6;
constexpr double kNodeOverhead = 5e-6;

struct AloneReduce {
  std::string link;
  bool one_node = false;
  double bytes = 0;
  double ranks = 0;
  double seconds = 0;
  double sigma = 0;  // of the logarithm, from call to call
};

std::vector<AloneReduce> lone_reduces(const Measurement& measurement, const FitOptions& options) {
  std::vector<AloneReduce> all;
  // On a machine that is never idle, disturbed figures are better than none.
  const bool all_disturbed = std::ranges::none_of(measurement.samples, [](const Sample& sample) {
    return sample.collective(MeasuredCollective::kAllReduce) != nullptr && !sample.disturbed;
  });
  for (const Sample& sample : measurement.samples) {
    const bool left_out =
        std::ranges::count(options.leave_out, sample.run) > 0 && !sample.run.empty();
    const auto* reduce = sample.collective(MeasuredCollective::kAllReduce);
    if (reduce == nullptr || reduce->seconds.empty() || left_out ||
        (sample.disturbed && !all_disturbed) || !reduce->ranks) {
      continue;
    }
    const ReducedLink link = reduced_link(measurement, sample);
    const RecordedRun* run = measurement.find_run(sample.run);
    if (run != nullptr && run->wall_clock_breakdown) {
      continue;  // its phases hold the same AllReduces, with the copies around them
    }
    std::vector<double> logarithms;
    for (const double seconds : sample.settled()) {
      logarithms.push_back(std::log(seconds));
    }
    all.push_back({.link = link.name,
                   .one_node = link.one_node,
                   .bytes = static_cast<double>(reduce->bytes),
                   .ranks = static_cast<double>(*reduce->ranks),
                   .seconds = median(sample.settled()),
                   .sigma = robust_sigma(logarithms)});
  }
  return all;
}

// Index of every unknown in the vector that the solver moves.
class Unknowns {
 public:
  Unknowns(const std::vector<const RunSummary*>& used, const std::vector<AloneReduce>& alone) {
    for (const RunSummary* summary : used) {
      const RecordedRun& run = *summary->run;
      for (const std::size_t rank : summary->kinds) {
        const auto point = std::pair(curve_key(run, rank), summary->micro_batch(rank));
        if (!compute_.contains(point)) {
          compute_[point] = add(std::log(guess_compute(used, point)), 0, 0);
        }
      }
      if (run.gpus.size() > 1) {
        add_link(link_name(run), run.one_node, summary->message_bytes(), guess_rate(*summary));
      }
    }
    for (const AloneReduce& reduce : alone) {
      const double message = std::ceil(reduce.bytes / reduce.ranks);
      add_link(reduce.link, reduce.one_node, message, 1e9);
      if (!overheads_.contains(reduce.link)) {
        const double overhead = std::log(reduce.one_node ? kNodeOverhead : kNetworkOverhead);
        overheads_[reduce.link] = add(overhead, overhead, 1 / kLatencyLogSigma);
      }
    }
  }

  [[nodiscard]] Eigen::VectorXd start() const {
    return Eigen::Map<const Eigen::VectorXd>(start_.data(),
                                             static_cast<Eigen::Index>(start_.size()));
  }

  [[nodiscard]] std::size_t prior_count() const { return priors_.size(); }

  void priors(const Eigen::VectorXd& x, Eigen::VectorXd& residuals, Eigen::Index at) const {
    for (const Prior& prior : priors_) {
      residuals[at++] = (x[prior.index] - prior.mean) * prior.weight;
    }
  }

  [[nodiscard]] StepFit unpack(const Eigen::VectorXd& x,
                               const std::map<CurveKey, StepConstants>& constants) const {
    StepFit fit{.compute_s = {}, .constants = constants, .links = {}};
    for (const auto& [point, index] : compute_) {
      fit.compute_s[point.first][point.second] = std::exp(x[index]);
    }
    for (const auto& [name, link] : links_) {
      LinkUnknowns& unknowns = fit.links[name];
      unknowns.latency_s = std::exp(x[link.latency]);
      unknowns.seconds_per_byte = std::exp(x[link.rate]);
      const auto overhead = overheads_.find(name);
      unknowns.overhead_s = overhead == overheads_.end() ? 0 : std::exp(x[overhead->second]);
      for (const auto& [message, index] : link.corrections) {
        unknowns.corrections[message] = std::exp(x[index]);
      }
    }
    return fit;
  }

 private:
  struct Prior {
    Eigen::Index index;
    double mean;
    double weight;
  };

  struct LinkIndices {
    Eigen::Index latency = 0;
    Eigen::Index rate = 0;
    std::map<double, Eigen::Index> corrections;
  };

  Eigen::Index add(double start, double mean, double weight) {
    start_.push_back(start);
    const auto index = static_cast<Eigen::Index>(start_.size() - 1);
    if (weight > 0) {
      priors_.push_back({index, mean, weight});
    }
    return index;
  }

  void add_link(const std::string& name, bool one_node, double message, double rate) {
    if (!links_.contains(name)) {
      const double latency = std::log(one_node ? kNodeLatency : kNetworkLatency);
      LinkIndices& link = links_[name];
      link.latency = add(latency, latency, 1 / kLatencyLogSigma);
      link.rate = add(-std::log(rate), 0, 0);
    }
    auto& corrections = links_[name].corrections;
    if (!corrections.contains(message)) {
      corrections[message] = add(0, 0, 1 / kCorrectionSigma);
    }
  }

  static double guess_compute(const std::vector<const RunSummary*>& used,
                              const std::pair<CurveKey, std::int64_t>& point) {
    double per_sample = 0.01;
    for (const RunSummary* summary : used) {
      for (const RankSummary& rank : summary->ranks) {
        const auto index = static_cast<std::size_t>(rank.rank);
        if (curve_key(*summary->run, index) == point.first &&
            summary->micro_batch(index) == point.second) {
          return rank.full.compute_s();
        }
      }
    }
    for (const RunSummary* summary : used) {
      for (const std::size_t rank : summary->kinds) {
        if (curve_key(*summary->run, rank) == point.first &&
            summary->micro_batch(rank) == point.second && summary->epoch_s && summary->plan) {
          return 0.9 * *summary->epoch_s / summary->full_steps();
        }
      }
    }
    return per_sample * static_cast<double>(point.second);
  }

  static double guess_rate(const RunSummary& summary) {
    for (const RankSummary& rank : summary.ranks) {
      if (rank.full.all_reduce_s > 0) {
        return summary.gradient_bytes / rank.full.all_reduce_s;
      }
    }
    return summary.run->one_node ? 5e9 : 1e9;
  }

  std::vector<double> start_;
  std::vector<Prior> priors_;
  std::map<std::pair<CurveKey, std::int64_t>, Eigen::Index> compute_;
  std::map<std::string, LinkIndices> links_;
  std::map<std::string, Eigen::Index> overheads_;
};

// Where a residual does not apply (a rank that is not of the slowest kind), it is zero.
void run_residuals(const StepFit& fit, const RunSummary& summary, std::vector<double>& residuals) {
  const auto parts = predict_step(fit, summary);
  const RecordedRun& run = *summary.run;
  if (summary.ranks.empty()) {
    residuals.push_back(
        summary.epoch_s && parts ? std::log(*summary.epoch_s / parts->epoch_s) / kEpochSigma : 0);
    return;
  }
  for (const RankSummary& rank : summary.ranks) {
    const auto index = static_cast<std::size_t>(rank.rank);
    const CurveKey key = curve_key(run, index);
    const StepConstants& constants = fit.constants.at(key);
    const double own = fit.compute_s.at(key).at(summary.micro_batch(index));
    residuals.push_back(std::log(rank.full.compute_s() / own) / kComputeSigma);
    if (run.gpus.size() < 2) {
      residuals.push_back(0);
      residuals.push_back(0);
      continue;
    }
    const double loaded = constants.data_load_per_sample_s *
                          static_cast<double>(summary.micro_batch(index) * run.accumulation);
    const double ready = loaded + static_cast<double>(run.accumulation) * own;
    const double wire = parts->all_reduce_s + constants.copy_s;
    const double own_step = ready + constants.optimizer_s + constants.copy_s;
    const bool slowest = own_step >= (1 - 1e-9) * parts->compute_s;
    residuals.push_back(slowest ? std::log(rank.pure_all_reduce_s() / wire) / kReduceSigma : 0);
    // Seen from this rank: its own compute and its AllReduce last as long as the slowest's compute
    // and the wire.
    const double seen = static_cast<double>(run.accumulation) * rank.full.compute_s() +
                        rank.full.all_reduce_s + rank.full.optimizer_s + loaded;
    residuals.push_back(
        slowest ? 0 : std::log(seen / (parts->compute_s + parts->all_reduce_s)) / kEpochSigma);
  }
}

}  // namespace

ReducedLink reduced_link(const Measurement& measurement, const Sample& all_reduce) {
  const RecordedRun* run = measurement.find_run(all_reduce.run);
  RecordedRun between = run != nullptr ? *run : RecordedRun();
  const auto* collective = all_reduce.as<CollectiveSeries>();
  VITSIM_CHECK(collective == nullptr, ==, false);
  between.one_node = collective->one_node.value_or(between.one_node);
  if (!collective->link.empty()) {
    between.link = collective->link;
  }
  return {.name = link_name(between), .one_node = between.one_node};
}

double message_seconds(const LinkUnknowns& link, double bytes) {
  const double straight = link.latency_s + bytes * link.seconds_per_byte;
  if (link.corrections.empty()) {
    return straight;
  }
  const auto above = link.corrections.lower_bound(bytes);
  if (above == link.corrections.begin()) {
    return straight * above->second;
  }
  const auto below = std::prev(above);
  if (above == link.corrections.end() || above->first == bytes) {
    return straight * (above == link.corrections.end() ? below->second : above->second);
  }
  const double share = std::log(bytes / below->first) / std::log(above->first / below->first);
  return straight * std::pow(below->second, 1 - share) * std::pow(above->second, share);
}

double ring_seconds(const LinkUnknowns& link, double bytes, double ranks) {
  return ranks < 2
             ? 0
             : link.overhead_s + 2 * (ranks - 1) * message_seconds(link, std::ceil(bytes / ranks));
}

std::optional<StepParts> predict_step(const StepFit& fit, const RunSummary& summary) {
  const RecordedRun& run = *summary.run;
  StepParts parts;
  double loader_start = 0;
  for (const std::size_t rank : summary.kinds) {
    const auto curve = fit.compute_s.find(curve_key(run, rank));
    if (curve == fit.compute_s.end()) {
      return std::nullopt;
    }
    const auto point = curve->second.find(summary.micro_batch(rank));
    if (point == curve->second.end()) {
      return std::nullopt;
    }
    const StepConstants& constants = fit.constants.at(curve->first);
    const auto micro_batches = static_cast<double>(run.accumulation);
    const double compute = micro_batches * (point->second + constants.data_load_per_sample_s *
                                                                static_cast<double>(point->first)) +
                           constants.optimizer_s + constants.copy_s;
    parts.compute_s = std::max(parts.compute_s, compute);
    loader_start = std::max(loader_start, constants.epoch_s);
  }
  if (run.gpus.size() > 1) {
    const auto link = fit.links.find(link_name(run));
    if (link == fit.links.end()) {
      return std::nullopt;
    }
    parts.all_reduce_s =
        ring_seconds(link->second, summary.gradient_bytes, static_cast<double>(run.gpus.size()));
  }
  if (summary.plan) {
    // The short last step computes less but reduces as much.
    const double steps = static_cast<double>(summary.plan->steps);
    parts.epoch_s =
        summary.full_steps() * parts.compute_s + steps * parts.all_reduce_s + loader_start;
  }
  return parts;
}

namespace {

struct Solved {
  Unknowns unknowns;
  std::map<CurveKey, StepConstants> constants;
  LeastSquaresResult result;
};

Solved solve(const std::vector<RunSummary>& summaries,
             const Measurement& measurement,
             const FitOptions& options) {
  std::vector<const RunSummary*> used;
  for (const RunSummary& summary : summaries) {
    const bool left_out = std::ranges::count(options.leave_out, summary.run->name) > 0;
    const bool tells = !summary.ranks.empty() || (summary.epoch_s && summary.plan);
    if (!left_out && tells && summary.phases_add_up()) {
      used.push_back(&summary);
    }
  }
  const std::vector<AloneReduce> alone = lone_reduces(measurement, options);
  if (used.empty() && alone.empty()) {
    throw UserError(
        "the measurement holds no run with phases or epochs and no AllReduce: "
        "nothing to fit");
  }
  Solved solved{
      .unknowns = Unknowns(used, alone), .constants = step_constants(used, options), .result = {}};
  const auto observe = [&](const StepFit& fit) {
    std::vector<double> residuals;
    for (const RunSummary* summary : used) {
      run_residuals(fit, *summary, residuals);
    }
    for (const AloneReduce& reduce : alone) {
      residuals.push_back(
          std::log(reduce.seconds /
                   ring_seconds(fit.links.at(reduce.link), reduce.bytes, reduce.ranks)) /
          kAloneSigma);
    }
    return residuals;
  };
  const Unknowns& unknowns = solved.unknowns;
  const auto observed = static_cast<Eigen::Index>(
      observe(unknowns.unpack(unknowns.start(), solved.constants)).size());
  const auto evaluate = [&](const Eigen::VectorXd& x, Eigen::VectorXd& residuals) {
    const std::vector<double> values = observe(unknowns.unpack(x, solved.constants));
    std::ranges::copy(values, residuals.data());
    unknowns.priors(x, residuals, observed);
  };
  solved.result = robust_least_squares(evaluate,
                                       unknowns.start(),
                                       observed + static_cast<Eigen::Index>(unknowns.prior_count()),
                                       observed);
  return solved;
}

}  // namespace

StepFit fit_steps(const std::vector<RunSummary>& summaries,
                  const Measurement& measurement,
                  const FitOptions& options) {
  const Solved solved = solve(summaries, measurement, options);
  return solved.unknowns.unpack(solved.result.x, solved.constants);
}

std::map<std::string, double> lone_reduce_sigmas(const StepFit& fit,
                                                 const Measurement& measurement,
                                                 const FitOptions& options) {
  constexpr double kFillsTheWire = 1e6;
  std::map<std::string, double> largest;
  const std::vector<AloneReduce> alone = lone_reduces(measurement, options);
  for (const AloneReduce& reduce : alone) {
    largest[reduce.link] = std::max(largest[reduce.link], reduce.bytes);
  }
  std::map<std::string, std::vector<double>> squares;
  for (const AloneReduce& reduce : alone) {
    if (reduce.bytes >= std::min(kFillsTheWire, largest[reduce.link])) {
      const LinkUnknowns& link = fit.links.at(reduce.link);
      const double off = std::log(reduce.seconds / ring_seconds(link, reduce.bytes, reduce.ranks));
      squares[reduce.link].push_back(off * off + reduce.sigma * reduce.sigma);
    }
  }
  std::map<std::string, double> sigmas;
  for (const auto& [name, values] : squares) {
    double sum = 0;
    for (const double value : values) {
      sum += value;
    }
    sigmas[name] = std::sqrt(sum / static_cast<double>(values.size()));
  }
  return sigmas;
}

std::optional<LeftOutFit> fit_without(const RunSummary& left_out,
                                      const std::vector<RunSummary>& summaries,
                                      const Measurement& measurement,
                                      const FitOptions& options) {
  FitOptions without = options;
  without.leave_out.push_back(left_out.run->name);
  const bool others = std::ranges::any_of(summaries, [&](const RunSummary& summary) {
    return std::ranges::count(without.leave_out, summary.run->name) == 0;
  });
  if (!others) {
    return std::nullopt;
  }
  const Solved solved = solve(summaries, measurement, without);
  LeftOutFit result{.fit = solved.unknowns.unpack(solved.result.x, solved.constants), .parts = {}};
  const auto parts = predict_step(result.fit, left_out);
  if (!parts) {
    return std::nullopt;
  }
  result.parts = *parts;
  // Standard error of the logarithm of the predicted step, by the unknowns' covariance.
  constexpr double kPinnedDown = 0.25;
  constexpr double kStep = 1e-4;
  const double base = std::log(parts->compute_s + parts->all_reduce_s);
  Eigen::VectorXd gradient(solved.result.x.size());
  for (Eigen::Index i = 0; i < gradient.size(); ++i) {
    Eigen::VectorXd shifted = solved.result.x;
    shifted[i] += kStep;
    const auto moved = predict_step(solved.unknowns.unpack(shifted, solved.constants), left_out);
    gradient[i] = (std::log(moved->compute_s + moved->all_reduce_s) - base) / kStep;
  }
  const double variance = gradient.dot(solved.result.covariance * gradient);
  if (!(variance < kPinnedDown * kPinnedDown)) {
    return std::nullopt;
  }
  return result;
}

}  // namespace vitsim
