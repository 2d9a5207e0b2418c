#include "calibrate/fit/fit.h"

#include <algorithm>
#include <cmath>
#include <set>

#include <fmt/format.h>

#include "calibrate/fit/collective_tables.h"
#include "calibrate/fit/loader_fit.h"
#include "calibrate/fit/memory_fit.h"
#include "calibrate/fit/overlap_fit.h"
#include "calibrate/fit/parallel_fit.h"
#include "calibrate/fit/point_to_point_fit.h"
#include "calibrate/fit/rate_fit.h"
#include "calibrate/fit/spread.h"
#include "calibrate/fit/step_fit.h"
#include "models/distribution.h"
#include "models/document/words.h"
#include "models/error.h"

namespace vitsim {

namespace {

bool used(const FitOptions& options, const RunSummary& summary) {
  return std::ranges::count(options.leave_out, summary.run->name) == 0;
}

// Forward's share of forward + backward, and short last steps relative to full ones, as logged.
struct Shapes {
  std::map<CurveKey, std::vector<double>> forward_shares;

  // What one micro-batch's runs logged; of devices that were measured alone, in several visits.
  struct Logged {
    std::vector<double> forward_shares;
    std::vector<double> log_computes;  // visits alone
    std::vector<double> optimizers;
    std::vector<double> copies;
  };

  std::map<CurveKey, std::map<std::int64_t, Logged>> by_batch;
  std::vector<double> all_forward_shares;

  struct Short {
    double forward = 0;  // by the full step's
    double backward = 0;
    std::int64_t full_batch = 0;
    std::int64_t count = 0;
  };

  std::map<CurveKey, std::map<std::int64_t, std::vector<Short>>> shorts;
  std::map<CurveKey, std::map<std::int64_t, std::int64_t>> counts;
};

Shapes shapes_of(const std::vector<RunSummary>& summaries, const FitOptions& options) {
  Shapes shapes;
  for (const RunSummary& summary : summaries) {
    if (!used(options, summary)) {
      continue;
    }
    for (const RankSummary& rank : summary.ranks) {
      const auto index = static_cast<std::size_t>(rank.rank);
      const CurveKey key = curve_key(*summary.run, index);
      const double share = rank.full.forward_s / rank.full.compute_s();
      shapes.forward_shares[key].push_back(share);
      Shapes::Logged& logged = shapes.by_batch[key][summary.micro_batch(index)];
      logged.forward_shares.push_back(share);
      if (summary.run->gpus.size() == 1 && !rank.unit.empty()) {
        logged.log_computes.push_back(std::log(rank.full.compute_s()));
        logged.optimizers.push_back(rank.full.optimizer_s);
        logged.copies.push_back(rank.full.all_reduce_s);
      }
      shapes.all_forward_shares.push_back(share);
      shapes.counts[key][summary.micro_batch(index)] += rank.steps;
      if (rank.last && rank.last->compute_s() > 0 &&
          rank.last_micro_batch < summary.micro_batch(index)) {
        shapes.shorts[key][rank.last_micro_batch].push_back(
            {.forward = rank.last->forward_s / rank.full.forward_s,
             .backward = rank.last->backward_s / rank.full.backward_s,
             .full_batch = summary.micro_batch(index),
             .count = summary.run->epochs});
      }
    }
  }
  return shapes;
}

// Fraction of a lone rank's whole step that a GPU without any log of its own shows: all that is
// known is how long others waited for it, at the full and at the short last step.
void add_unlogged_short_steps(const std::vector<RunSummary>& summaries,
                              const FitOptions& options,
                              const StepFit& fit,
                              std::map<CurveKey, std::map<std::int64_t, double>>& shorts) {
  for (const RunSummary& summary : summaries) {
    if (!used(options, summary) || !summary.plan) {
      continue;
    }
    for (const RankSummary& logged : summary.ranks) {
      if (!logged.last) {
        continue;
      }
      const auto own_index = static_cast<std::size_t>(logged.rank);
      const CurveKey own = curve_key(*summary.run, own_index);
      std::optional<std::size_t> slowest;
      double most = fit.compute_s.at(own).at(summary.micro_batch(own_index));
      for (const std::size_t rank : summary.kinds) {
        const double compute =
            fit.compute_s.at(curve_key(*summary.run, rank)).at(summary.micro_batch(rank));
        if (compute > 1.01 * most) {
          most = compute;
          slowest = rank;
        }
      }
      if (!slowest) {
        continue;
      }
      const CurveKey key = curve_key(*summary.run, *slowest);
      const double full_seen = logged.full.compute_s() + logged.full.all_reduce_s;
      const double last_seen = logged.last->compute_s() + logged.last->all_reduce_s;
      const double compute = most - (full_seen - last_seen);
      const std::int64_t batch = summary.plan->last[*slowest].last;
      if (compute > 0 && batch > 0 && batch < summary.micro_batch(*slowest)) {
        shorts[key][batch] = compute;
      }
    }
  }
}

double mean_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values) {
    sum += value;
  }
  return sum / static_cast<double>(values.size());
}

// Of several names for one architecture, that of a variant is known everywhere.
bool tells_more(const std::string& name, const std::string& than) {
  return (vit_variant(name) && !vit_variant(than)) ||
         (name != VitSpec().name && than == VitSpec().name);
}

StepCurve build_curve(const CurveKey& key,
                      const VitSpec& model,
                      const StepFit& fit,
                      const Shapes& shapes,
                      const std::map<CurveKey, std::map<std::int64_t, double>>& unlogged) {
  const StepConstants& constants = fit.constants.at(key);
  const auto own_share = shapes.forward_shares.find(key);
  const double share = own_share != shapes.forward_shares.end() ? median(own_share->second)
                       : !shapes.all_forward_shares.empty()     ? median(shapes.all_forward_shares)
                                                                : 1.0 / 3;
  StepCurve curve{.model = model, .precision = key.precision, .optimizer = key.optimizer};
  std::map<std::int64_t, StepPoint> points;
  const auto add = [&](std::int64_t batch, double forward_s, double backward_s) {
    points[batch] = {
        .micro_batch = batch,
        .data_load = Seconds(constants.data_load_per_sample_s * static_cast<double>(batch)),
        .forward = Seconds(forward_s),
        .backward = Seconds(backward_s),
        .optimizer = Seconds(constants.optimizer_s),
        .other = Seconds(constants.copy_s)};
  };
  const auto by_batch = shapes.by_batch.find(key);
  for (const auto& [batch, compute] : fit.compute_s.at(key)) {
    if (by_batch == shapes.by_batch.end() || !by_batch->second.contains(batch)) {
      add(batch, share * compute, (1 - share) * compute);
      continue;
    }
    // Launches count for more in small batches, and not for as much in backward: each batch has its
    // own share. Where visits disagree none is right: their mean, which a robust fit does not take.
    const Shapes::Logged& logged = by_batch->second.at(batch);
    const double own = median(logged.forward_shares);
    const double total =
        logged.log_computes.empty() ? compute : std::exp(mean_of(logged.log_computes));
    add(batch, own * total, (1 - own) * total);
    if (!logged.optimizers.empty()) {
      points[batch].optimizer = Seconds(median(logged.optimizers));
      points[batch].other = Seconds(median(logged.copies));
    }
  }
  if (const auto shorts = shapes.shorts.find(key); shorts != shapes.shorts.end()) {
    for (const auto& [batch, seen] : shorts->second) {
      if (points.contains(batch)) {
        continue;
      }
      std::vector<double> forwards;
      std::vector<double> backwards;
      for (const auto& one : seen) {
        const double full = fit.compute_s.at(key).at(one.full_batch);
        forwards.push_back(one.forward * share * full);
        backwards.push_back(one.backward * (1 - share) * full);
      }
      add(batch, median(forwards), median(backwards));
    }
  }
  if (const auto shorts = unlogged.find(key); shorts != unlogged.end()) {
    for (const auto& [batch, compute] : shorts->second) {
      if (!points.contains(batch)) {
        add(batch, share * compute, (1 - share) * compute);
      }
    }
  }
  const auto counts = shapes.counts.find(key);
  for (auto& [batch, point] : points) {
    if (counts != shapes.counts.end() && counts->second.contains(batch)) {
      point.count = counts->second.at(batch);
    }
    curve.points.push_back(point);
  }
  return curve;
}

LinkProfile build_link(const std::string& name, const LinkUnknowns& unknowns, bool one_node) {
  // A path through the switch crosses two links, each of which brings half of the latency.
  const double hops = one_node ? 1 : 2;
  LinkProfile profile{
      .name = name,
      .latency = Seconds(unknowns.latency_s / hops),
      .bandwidth = BytesPerSecond(std::min(kMostBytesPerSecond, 1 / unknowns.seconds_per_byte)),
      .collective_overhead = Seconds(unknowns.overhead_s)};
  for (const auto& [message, correction] : unknowns.corrections) {
    const double seconds = message_seconds(unknowns, message);
    // Small messages are all latency, large ones all bandwidth: correct what matters.
    const double on_wire = message * unknowns.seconds_per_byte;
    const bool latency_bound = on_wire < unknowns.latency_s;
    const double latency =
        latency_bound ? seconds - on_wire : std::min(unknowns.latency_s, 0.5 * seconds);
    const double rest = std::max(seconds - latency, 1e-12);
    profile.curve.push_back({.message = Bytes(message),
                             .latency = Seconds(std::max(latency, 0.0) / hops),
                             .bandwidth = BytesPerSecond(message / rest)});
  }
  return profile;
}

FitQuality quality_of(const std::vector<double>& errors) {
  FitQuality quality{.runs = static_cast<int>(errors.size())};
  for (const double error : errors) {
    const double magnitude = std::abs(std::expm1(-error));
    quality.mean_abs_error += magnitude / static_cast<double>(errors.size());
    quality.worst = std::max(quality.worst, magnitude);
  }
  return quality;
}

// What a pinned copy from the host brings: four fifths of the slot's raw rate.
BytesPerSecond pinned_copy_rate(const GpuSheet& sheet) {
  const PcieSlot slot = sheet.pcie.value_or(PcieSlot{.generation = 3, .lanes = 16});
  // Third generation: 0.985 GB/s a lane; each further one twice that.
  return BytesPerSecond(0.8 * 0.985e9 * std::ldexp(1.0, static_cast<int>(slot.generation) - 3) *
                        static_cast<double>(slot.lanes));
}

// Measurements on GPUs used to load through pageable memory and two workers, which a training does
// not: their loading tells nothing but that it was no faster than a pinned copy of fp32 images.
void replace_pageable_loading(const Measurement& measurement,
                              const FitOptions& options,
                              Calibration& calibration) {
  if (options.keep_measured_loading || !measurement.environment.contains("torch") ||
      measurement.environment.contains("loader")) {
    return;
  }
  for (auto& [gpu, profile] : calibration.gpus) {
    const GpuSheet* sheet = options.sheet(gpu);
    if (sheet == nullptr) {
      continue;
    }
    bool replaced = false;
    for (StepCurve& curve : profile.steps) {
      const auto side = static_cast<double>(curve.model.image_size);
      const Bytes image(4 * static_cast<double>(curve.model.channels) * side * side);
      for (StepPoint& point : curve.points) {
        const Seconds copy =
            static_cast<double>(point.micro_batch) * image / pinned_copy_rate(*sheet);
        if (point.data_load > 2 * copy) {
          point.data_load = copy;
          replaced = true;
        }
      }
    }
    if (replaced) {
      profile.notes.emplace_back(
          "loading was measured through pageable memory: a pinned copy of the images stands for "
          "it, and decoding is not in it");
    }
  }
}

// A data sheet's bandwidth would pull the fit of another device towards it.
void check_devices(const Measurement& measurement, const FitOptions& options) {
  std::vector<std::string> problems;
  for (const auto& [name, device] : measurement.devices) {
    const GpuSheet* sheet = options.sheet(name);
    if (sheet != nullptr && !is_device(device, sheet->device_name)) {
      problems.push_back(
          fmt::format("{} was measured on {}, but its data sheet is of {}: measure under another "
                      "--name",
                      in_quotes(name),
                      in_quotes(device),
                      in_quotes(sheet->device_name)));
    }
  }
  if (!problems.empty()) {
    throw UserError(problems);
  }
}

}  // namespace

Calibration fit(const Measurement& measurement, const FitOptions& options) {
  check_devices(measurement, options);
  Calibration calibration;
  const std::vector<RunSummary> summaries = summarise(measurement);
  std::map<std::string, std::set<std::string>> sources;
  bool has_steps = std::ranges::any_of(measurement.samples, [](const Sample& sample) {
    return sample.collective(MeasuredCollective::kAllReduce) != nullptr;
  });
  for (const RunSummary& summary : summaries) {
    has_steps |= used(options, summary) && (!summary.ranks.empty() || summary.epoch_s);
  }
  if (has_steps) {
    const StepFit steps = fit_steps(summaries, measurement, options);
    const Shapes shapes = shapes_of(summaries, options);
    std::map<CurveKey, std::map<std::int64_t, double>> unlogged;
    add_unlogged_short_steps(summaries, options, steps, unlogged);

    std::map<CurveKey, VitSpec> models;
    std::map<std::string, bool> one_node;
    for (const RunSummary& summary : summaries) {
      if (!used(options, summary)) {
        continue;
      }
      if (summary.run->gpus.size() > 1) {
        one_node[link_name(*summary.run)] = summary.run->one_node;
      }
      for (const std::size_t rank : summary.kinds) {
        const auto [model, fresh] =
            models.try_emplace(curve_key(*summary.run, rank), summary.run->model);
        if (!fresh && tells_more(summary.run->model.name, model->second.name)) {
          model->second = summary.run->model;
        }
        sources[summary.run->gpus[rank]].insert(summary.run->name);
      }
      if (summary.run->gpus.size() > 1) {
        sources[link_name(*summary.run)].insert(summary.run->name);
      }
    }
    for (const Sample& sample : measurement.samples) {
      if (sample.collective(MeasuredCollective::kAllReduce) != nullptr) {
        const ReducedLink link = reduced_link(measurement, sample);
        one_node.try_emplace(link.name, link.one_node);
        if (sample.run.empty()) {
          sources[link.name].insert("AllReduce samples");
        }
      }
    }
    for (const auto& [key, points] : steps.compute_s) {
      GpuProfile& profile = calibration.gpus[key.gpu];
      profile.steps.push_back(build_curve(key, models.at(key), steps, shapes, unlogged));
      profile.epoch_start = Seconds(steps.constants.at(key).epoch_s);
    }
    for (const auto& [name, unknowns] : steps.links) {
      calibration.links[name] = build_link(name, unknowns, one_node[name]);
    }
    replace_pageable_loading(measurement, options, calibration);
    fit_rates(measurement, options, calibration);
    if (options.with_spread) {
      auto errors = leave_each_out(summaries, measurement, options);
      // What the host's launches wander by is the host's, and no spread of the GPU.
      const std::set<std::string> by_host = runs_ruled_by_host(summaries, calibration);
      std::erase_if(errors, [&](const LeftOutRun& error) { return by_host.contains(error.run); });
      std::vector<RunSummary> seen;
      std::ranges::copy_if(summaries, std::back_inserter(seen), [&](const RunSummary& summary) {
        return used(options, summary);
      });
      const Spreads spreads = estimate_spreads(errors, seen);
      for (auto& [name, profile] : calibration.gpus) {
        // Throughput samples alone show no spread between runs.
        const auto spread = spreads.gpus.find(name);
        if (spread == spreads.gpus.end()) {
          continue;
        }
        profile.spread = spread->second;
        std::vector<double> own;
        for (const LeftOutRun& error : errors) {
          if (error.gpu == name) {
            own.push_back(error.log_error);
          }
        }
        profile.fit = quality_of(own);
      }
      for (const auto& [name, spread] : spreads.links) {
        calibration.links[name].spread = spread;
        std::vector<double> own;
        for (const LeftOutRun& error : errors) {
          if (error.link == name) {
            own.push_back(error.log_error);
          }
        }
        calibration.links[name].fit = quality_of(own);
      }
    }
    if (options.with_spread) {
      for (const auto& [name, sigma] : lone_reduce_sigmas(steps, measurement, options)) {
        Spread& spread = calibration.links[name].spread;
        if (!spread.run_sigma) {
          spread.run_sigma = sigma;
        }
      }
    }
    fit_memory(measurement, summaries, options, calibration);
  }
  fit_overlap(measurement, calibration);
  fit_loaders(measurement, calibration);
  if (!has_steps) {
    fit_rates(measurement, options, calibration);
  }
  fit_parallel_steps(measurement, options, calibration);
  fit_point_to_point(measurement, options, calibration);
  fit_collective_tables(measurement, options, calibration);
  if (calibration.gpus.empty() && calibration.links.empty()) {
    std::vector<std::string> problems;
    for (const RecordedRun& run : measurement.runs) {
      if (const std::string missing = missing_facts(run); !missing.empty()) {
        problems.push_back(fmt::format("run {}: {}", in_quotes(run.name), missing));
      }
    }
    if (problems.empty()) {
      problems.emplace_back("the measurement holds nothing to fit");
    }
    throw UserError(problems);
  }

  for (auto& [name, profile] : calibration.gpus) {
    profile.name = name;
    const GpuSheet* sheet = options.sheet(name);
    const auto device = measurement.devices.find(name);
    if (device != measurement.devices.end()) {
      profile.device_name = device->second;
    } else if (sheet != nullptr) {
      profile.device_name = sheet->device_name;
    }
    if (sheet != nullptr) {
      profile.memory = sheet->memory;
    } else {
      profile.memory = recorded_capacity(measurement, name);
    }
    profile.provenance.tool = "vitsim calibrate fit";
    profile.provenance.created = options.created;
    profile.provenance.sources.insert(
        profile.provenance.sources.end(), sources[name].begin(), sources[name].end());
  }
  // The path inside a node is known by the GPUs it was measured with.
  for (const Sample& sample : measurement.samples) {
    const auto* reduce = sample.collective(MeasuredCollective::kAllReduce);
    if (reduce == nullptr || reduce->gpu.empty() || reduce->link.empty()) {
      continue;
    }
    const ReducedLink link = reduced_link(measurement, sample);
    const auto profile = calibration.gpus.find(reduce->gpu);
    if (link.one_node && profile != calibration.gpus.end() &&
        calibration.links.contains(link.name)) {
      profile->second.intra_node = link.name;
    }
  }
  for (auto& [name, profile] : calibration.links) {
    profile.provenance.tool = "vitsim calibrate fit";
    profile.provenance.created = options.created;
    profile.provenance.sources.insert(
        profile.provenance.sources.end(), sources[name].begin(), sources[name].end());
  }
  return calibration;
}

}  // namespace vitsim
