#include "calibrate/import/kineto.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <tuple>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/error.h"

// A trace is one JSON object whose "traceEvents" hold, among much else,
//   {"ph": "X", "cat": "kernel", "name": ..., "ts": us, "dur": us, "args": {"stream": 7,
//    "correlation": 41, "Collective name": "allreduce", "In msg nelems": 6637568, ...}}
//   {"ph": "X", "cat": "cuda_runtime", "ts": us, "args": {"correlation": 41}}
//   {"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#4", "ts": us, "dur": us}
//
// The host runs ahead of the device, so a kernel belongs to the step in which it was launched: the
// step whose annotation holds the runtime call of the same correlation. Traces without such calls
// fall back to the kernel's own time.

namespace vitsim {

namespace {

using Interval = std::pair<std::int64_t, std::int64_t>;  // nanoseconds, half open

/// Something that ran on the device.
struct DeviceEvent {
  Interval time;
  std::int64_t correlation = -1;
  bool communication = false;
};

struct StepMark {
  std::int64_t number = 0;
  Interval time;
};

/// The fields of one event that matter; strings empty and numbers absent where it lacks them.
struct RawEvent {
  std::string phase;
  std::string category;
  std::string name;
  std::optional<double> start_us;
  std::optional<double> duration_us;
  std::optional<double> correlation;
  std::string collective;
  std::optional<double> elements;
  std::string dtype;
  std::optional<double> group_size;
  std::string group;
  std::optional<double> sequence;
};

std::int64_t bytes_of(std::string_view dtype) {
  static constexpr std::array<std::pair<std::string_view, std::int64_t>, 9> kSizes = {
      {{"Double", 8},
       {"Long", 8},
       {"Float", 4},
       {"Int", 4},
       {"Half", 2},
       {"BFloat16", 2},
       {"Byte", 1},
       {"Char", 1},
       {"Bool", 1}}
  };
  const auto found =
      std::ranges::find(kSizes, dtype, &std::pair<std::string_view, std::int64_t>::first);
  return found == kSizes.end() ? 0 : found->second;
}

/// Whole numbers within what a trace may hold; none for others.
std::optional<std::int64_t> whole(std::optional<double> value) {
  constexpr double kMost = 9e15;
  if (!value || !(std::abs(*value) < kMost)) {
    return std::nullopt;
  }
  return std::llround(*value);
}

bool is_communication(const RawEvent& event) {
  return event.name.starts_with("nccl") || event.name.find("ncclKernel") != std::string::npos ||
         event.name.find("ncclDevKernel") != std::string::npos;
}

/// Disjoint intervals in order, from any.
std::vector<Interval> merged(std::vector<Interval> intervals) {
  std::ranges::sort(intervals);
  std::vector<Interval> result;
  for (const Interval& interval : intervals) {
    if (!result.empty() && interval.first <= result.back().second) {
      result.back().second = std::max(result.back().second, interval.second);
    } else {
      result.push_back(interval);
    }
  }
  return result;
}

double length_s(const std::vector<Interval>& disjoint) {
  std::int64_t sum = 0;
  for (const auto& [begin, end] : disjoint) {
    sum += end - begin;
  }
  return static_cast<double>(sum) / 1e9;
}

/// What lies in both of two lists of disjoint intervals.
double common_s(const std::vector<Interval>& a, const std::vector<Interval>& b) {
  std::int64_t sum = 0;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    sum += std::max<std::int64_t>(
        std::min(a[i].second, b[j].second) - std::max(a[i].first, b[j].first), 0);
    (a[i].second < b[j].second ? i : j)++;
  }
  return static_cast<double>(sum) / 1e9;
}

/// Listens to the JSON text and keeps what matters.
class TraceListener : public nlohmann::json_sax<nlohmann::json> {
 public:
  std::vector<DeviceEvent> device_events;
  std::vector<std::pair<std::size_t, CollectiveSpan>> collectives;  // index of the device event
  std::unordered_map<std::int64_t, std::int64_t> launches;          // correlation to nanoseconds
  std::vector<StepMark> steps;
  std::optional<std::int64_t> rank;
  std::optional<std::int64_t> world_size;
  std::string device;
  std::string error;

  bool null() override { return true; }

  bool boolean(bool) override { return true; }

  bool binary(binary_t&) override { return true; }

  bool number_integer(number_integer_t value) override {
    return number(static_cast<double>(value));
  }

  bool number_unsigned(number_unsigned_t value) override {
    return number(static_cast<double>(value));
  }

  bool number_float(number_float_t value, const string_t&) override { return number(value); }

  bool string(string_t& value) override {
    if (in_event()) {
      if (key_ == "ph") {
        event_.phase = value;
      } else if (key_ == "cat") {
        event_.category = value;
      } else if (key_ == "name") {
        event_.name = value;
      }
    } else if (in_arguments()) {
      if (key_ == "Collective name") {
        event_.collective = value;
      } else if (key_ == "dtype") {
        event_.dtype = value;
      } else if (key_ == "Process Group Name") {
        event_.group = value;
      }
    } else if (section_ == "deviceProperties" && depth_ == 3 && key_ == "name" && device.empty()) {
      device = value;
    }
    return true;
  }

  bool start_object(std::size_t) override {
    ++depth_;
    if (in_event()) {
      event_ = {};
    }
    return true;
  }

  bool end_object() override {
    if (in_event()) {
      take_event();
    }
    --depth_;
    return true;
  }

  bool start_array(std::size_t) override {
    ++depth_;
    return true;
  }

  bool end_array() override {
    --depth_;
    return true;
  }

  bool key(string_t& value) override {
    if (depth_ == 1) {
      section_ = value;
    } else if (depth_ == 3) {
      event_key_ = value;
    }
    key_ = value;
    return true;
  }

  bool parse_error(std::size_t, const std::string&, const nlohmann::json::exception& e) override {
    error = e.what();
    return false;
  }

 private:
  [[nodiscard]] bool in_event() const { return section_ == "traceEvents" && depth_ == 3; }

  [[nodiscard]] bool in_arguments() const {
    return section_ == "traceEvents" && depth_ == 4 && event_key_ == "args";
  }

  bool number(double value) {
    if (in_event()) {
      if (key_ == "ts") {
        event_.start_us = value;
      } else if (key_ == "dur") {
        event_.duration_us = value;
      }
    } else if (in_arguments()) {
      if (key_ == "correlation") {
        event_.correlation = value;
      } else if (key_ == "In msg nelems") {
        event_.elements = value;
      } else if (key_ == "Group size") {
        event_.group_size = value;
      } else if (key_ == "Seq") {
        event_.sequence = value;
      }
    } else if (section_ == "distributedInfo" && depth_ == 2) {
      if (key_ == "rank") {
        rank = whole(value);
      } else if (key_ == "world_size") {
        world_size = whole(value);
      }
    }
    return true;
  }

  void take_event() {
    constexpr double kLongest_us = 4e12;  // 46 days; the start is microseconds since 1970 at most
    if (event_.phase != "X" || !event_.start_us || !(std::abs(*event_.start_us) < 4e15)) {
      return;
    }
    const double duration = event_.duration_us.value_or(0);
    if (!(duration >= 0 && duration < kLongest_us)) {
      return;
    }
    const std::int64_t begin = std::llround(*event_.start_us * 1e3);
    const Interval time = {begin, begin + std::llround(duration * 1e3)};
    if (event_.category == "kernel" || event_.category == "gpu_memcpy" ||
        event_.category == "gpu_memset") {
      take_device_event(time);
    } else if (event_.category == "cuda_runtime" || event_.category == "cuda_driver") {
      if (const auto correlation = whole(event_.correlation)) {
        launches[*correlation] = begin;
      }
    } else if (event_.category == "user_annotation") {
      static constexpr std::string_view kStep = "ProfilerStep#";
      if (event_.name.starts_with(kStep)) {
        const std::string digits = event_.name.substr(kStep.size());
        if (!digits.empty() && digits.size() < 16 &&
            digits.find_first_not_of("0123456789") == std::string::npos) {
          steps.push_back({.number = std::stoll(digits), .time = time});
        }
      }
    }
  }

  void take_device_event(const Interval& time) {
    const bool communication = is_communication(event_);
    device_events.push_back({.time = time,
                             .correlation = whole(event_.correlation).value_or(-1),
                             .communication = communication});
    if (!communication) {
      return;
    }
    CollectiveSpan span{.name = event_.collective,
                        .group = event_.group,
                        .sequence = whole(event_.sequence),
                        .ranks = whole(event_.group_size).value_or(0),
                        .seconds = static_cast<double>(time.second - time.first) / 1e9};
    if (const auto elements = whole(event_.elements);
        elements && *elements > 0 && *elements < (std::int64_t{1} << 50)) {
      span.bytes = *elements * bytes_of(event_.dtype);
    }
    collectives.emplace_back(device_events.size() - 1, std::move(span));
  }

  int depth_ = 0;
  std::string section_;    // key at depth 1
  std::string event_key_;  // key at depth 3
  std::string key_;
  RawEvent event_;
};

/// Index of the step in whose annotation the event was launched; none for events between steps.
std::optional<std::size_t> step_of(const TraceListener& trace, const DeviceEvent& event) {
  const auto launch = trace.launches.find(event.correlation);
  const std::int64_t time = launch == trace.launches.end() ? event.time.first : launch->second;
  const auto after = std::ranges::upper_bound(
      trace.steps, time, {}, [](const StepMark& step) { return step.time.first; });
  if (after == trace.steps.begin()) {
    return std::nullopt;
  }
  const auto step = after - 1;
  if (time >= step->time.second) {
    return std::nullopt;
  }
  return static_cast<std::size_t>(step - trace.steps.begin());
}

/// A trace without step marks is one step from the first to the last device event.
void mark_whole(TraceListener& trace) {
  Interval whole_trace = trace.device_events.front().time;
  for (const DeviceEvent& event : trace.device_events) {
    whole_trace.first = std::min(whole_trace.first, event.time.first);
    whole_trace.second = std::max(whole_trace.second, event.time.second);
  }
  trace.launches.clear();
  ++whole_trace.second;  // so that an event of no length at the end lies inside
  trace.steps.push_back({.number = 0, .time = whole_trace});
}

}  // namespace

KinetoTrace read_kineto_trace(std::istream& stream, const std::string& origin) {
  TraceListener listener;
  nlohmann::json::sax_parse(stream, &listener);
  KinetoTrace trace{.origin = origin,
                    .rank = listener.rank,
                    .world_size = listener.world_size,
                    .device = listener.device};
  if (listener.device_events.empty()) {
    throw UserError(listener.error.empty()
                        ? fmt::format("{}: nothing in it ran on a device", origin)
                        : fmt::format("{}: cut or damaged: {}", origin, listener.error));
  }
  if (!listener.error.empty()) {
    trace.warnings.push_back(
        fmt::format("{}: cut or damaged, its beginning is taken: {}", origin, listener.error));
  }
  if (listener.steps.empty()) {
    trace.warnings.push_back(fmt::format("{}: no step is marked: taken as one step", origin));
    mark_whole(listener);
  }
  std::ranges::sort(listener.steps, {}, [](const StepMark& step) { return step.time; });

  std::vector<std::vector<Interval>> compute(listener.steps.size());
  std::vector<std::vector<Interval>> communication(listener.steps.size());
  std::vector<std::optional<std::size_t>> places;
  for (const DeviceEvent& event : listener.device_events) {
    places.push_back(step_of(listener, event));
    if (places.back()) {
      (event.communication ? communication : compute)[*places.back()].push_back(event.time);
    }
  }
  for (std::size_t i = 0; i < listener.steps.size(); ++i) {
    const StepMark& mark = listener.steps[i];
    const std::vector<Interval> computing = merged(std::move(compute[i]));
    const std::vector<Interval> communicating = merged(std::move(communication[i]));
    trace.steps.push_back({.number = mark.number,
                           .wall_s = length_s({mark.time}),
                           .compute_s = length_s(computing),
                           .communication_s = length_s(communicating),
                           .overlap_s = common_s(computing, communicating)});
  }
  std::ranges::stable_sort(listener.collectives, {}, [&](const auto& entry) {
    return listener.device_events[entry.first].time.first;
  });
  for (auto& [event, span] : listener.collectives) {
    if (places[event]) {
      span.step = listener.steps[*places[event]].number;
      trace.collectives.push_back(std::move(span));
    }
  }
  return trace;
}

Piece join_kineto_traces(std::span<const KinetoTrace> traces, const std::string& run) {
  VITSIM_CHECK(traces.empty(), ==, false);
  Piece piece{.origin = traces.front().origin, .run = run, .authority = Authority::kRankClock};
  std::set<std::int64_t> ranks;
  // Group, step and number of an instance, to its shortest duration.
  std::map<std::tuple<std::string, std::int64_t, std::int64_t>, CollectiveSpan> shortest;
  for (const KinetoTrace& trace : traces) {
    piece.warnings.insert(piece.warnings.end(), trace.warnings.begin(), trace.warnings.end());
    const std::int64_t rank = trace.rank.value_or(std::ssize(ranks));
    if (!ranks.insert(rank).second) {
      throw UserError(fmt::format("{}: a second trace of rank {} of {}", trace.origin, rank, run));
    }
    if (trace.world_size) {
      piece.facts.world_size = trace.world_size;
    }
    const auto figures = [&](double ProfiledStep::*figure) {
      std::vector<double> seconds;
      std::ranges::transform(trace.steps, std::back_inserter(seconds), figure);
      return seconds;
    };
    const auto add = [&](Sample sample) {
      sample.warm_up = 0;  // the profiler's schedule has its own
      piece.samples.push_back(std::move(sample));
    };
    add(step_sample(rank, figures(&ProfiledStep::wall_s)));
    add(phase_sample(StepPart::kCompute, rank, figures(&ProfiledStep::compute_s)));
    add(phase_sample(StepPart::kCommunication, rank, figures(&ProfiledStep::communication_s)));
    add(phase_sample(StepPart::kOverlap, rank, figures(&ProfiledStep::overlap_s)));

    std::map<std::pair<std::string, std::int64_t>, std::int64_t> next;
    for (const CollectiveSpan& span : trace.collectives) {
      // Every rank counts in the same order: collectives of a group are ordered.
      const std::int64_t order = next[{span.group, span.step}]++;
      const auto key = span.sequence ? std::tuple(span.group, std::int64_t{-1}, *span.sequence)
                                     : std::tuple(span.group, span.step, order);
      const auto [at, fresh] = shortest.try_emplace(key, span);
      if (!fresh && span.seconds < at->second.seconds) {
        at->second = span;
      }
    }
  }
  std::map<std::pair<std::int64_t, std::int64_t>, std::vector<double>> by_size;
  for (const auto& [key, span] : shortest) {
    if ((span.name == "allreduce" || span.name == "all_reduce") && span.bytes > 0) {
      by_size[{span.bytes, span.ranks}].push_back(span.seconds);
    }
  }
  for (auto& [key, seconds] : by_size) {
    CollectiveSeries reduce{.bytes = key.first, .backend = "nccl", .seconds = std::move(seconds)};
    if (key.second > 0) {
      reduce.ranks = key.second;
    }
    piece.samples.push_back({.series = std::move(reduce)});
  }
  const std::string gpu = gpu_slug(traces.front().device);
  const std::int64_t world = piece.facts.world_size.value_or(std::ssize(ranks));
  if (!gpu.empty() && world == std::ssize(ranks)) {
    std::vector<std::pair<std::int64_t, std::string>> gpus;
    for (const KinetoTrace& trace : traces) {
      gpus.emplace_back(trace.rank.value_or(std::ssize(gpus)), gpu_slug(trace.device));
    }
    std::ranges::sort(gpus);
    for (const auto& entry : gpus) {
      piece.facts.gpus.push_back(entry.second);
    }
  } else if (!gpu.empty()) {
    piece.warnings.push_back(
        fmt::format("{}: traces of {} of {} ranks", piece.origin, ranks.size(), world));
  }
  piece.facts.wall_clock_breakdown = false;
  return piece;
}

}  // namespace vitsim
