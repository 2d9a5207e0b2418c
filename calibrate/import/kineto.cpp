#include "calibrate/import/kineto.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <set>
#include <unordered_map>
#include <utility>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "calibrate/import/kernel_kind.h"
#include "models/error.h"

// A trace is one JSON object whose "traceEvents" hold, among much else,
//   {"ph": "X", "cat": "kernel", "name": ..., "ts": us, "dur": us, "args": {"stream": 7,
//    "correlation": 41, "Collective name": "allreduce", "In msg nelems": 6637568, ...}}
//   {"ph": "X", "cat": "cuda_runtime", "ts": us, "args": {"correlation": 41}}
//   {"ph": "X", "cat": "user_annotation", "name": "ProfilerStep#4", "ts": us, "dur": us}
//
// PyTorch 1.8 to 1.12 write "Kernel", "Memcpy", "Memset", "Runtime" and "Operator" instead.
//
// The host runs ahead of the device, so a kernel belongs to the step in which it was launched: the
// step whose annotation holds the runtime call of the same correlation. Traces without such calls
// fall back to the kernel's own time. For the same reason the annotations of the first steps are
// short: a step lasts from its first device event to that of the next step.
//
// The launching call also tells the phase: inside "Optimizer.step#..." it is the optimizer's; on
// the threads that evaluate autograd's functions, other than the one that marks the steps, it is
// backward's; else forward's. Traces without autograd's events do not tell.

namespace vitsim {

namespace {

using Interval = std::pair<std::int64_t, std::int64_t>;  // nanoseconds, half open

/// Something that ran on the device.
struct DeviceEvent {
  Interval time;
  std::int64_t correlation = -1;
  bool communication = false;
  KernelKind kind = KernelKind::kMemoryBound;
};

/// A call of the host that started something on the device.
struct Launch {
  std::int64_t time = 0;
  std::int64_t thread = 0;
};

struct StepMark {
  std::int64_t number = 0;
  Interval time;
  std::int64_t thread = 0;
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
  std::optional<double> thread;
  std::optional<double> elements;  // sent by each rank
  std::optional<double> received;  // by each rank
  std::string dtype;
  std::optional<double> group_size;
  std::string group;
  std::optional<double> sequence;
};

std::int64_t bytes_of(std::string_view dtype) {
  if (constexpr std::string_view kNamespace = "c10::"; dtype.starts_with(kNamespace)) {
    dtype.remove_prefix(kNamespace.size());
  }
  static constexpr std::array<std::pair<std::string_view, std::int64_t>, 9> kSizes = {
      {{"Double", 8},
       {"Long", 8},
       {"Float", 4},
       {"Int", 4},
       {"Half", 2},
       {"BFloat16", 2},
       {"Byte", 1},
       {"Char", 1},
       {"Bool", 1}}};
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
  std::unordered_map<std::int64_t, Launch> launches;                // by correlation
  std::vector<StepMark> steps;
  std::vector<Interval> optimizer_steps;  // of the host
  std::set<std::int64_t> autograd_threads;
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
      } else if (key_ == "tid") {
        event_.thread = value;
      }
    } else if (in_arguments()) {
      if (key_ == "correlation") {
        event_.correlation = value;
      } else if (key_ == "In msg nelems") {
        event_.elements = value;
      } else if (key_ == "Out msg nelems") {
        event_.received = value;
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
    const std::string_view category = event_.category;
    if (category == "kernel" || category == "Kernel" || category == "gpu_memcpy" ||
        category == "gpu_memset" || category == "Memcpy" || category == "Memset") {
      take_device_event(time);
    } else if (category.ends_with("_runtime") || category.ends_with("_driver") ||
               category == "Runtime") {
      if (const auto correlation = whole(event_.correlation)) {
        launches[*correlation] = {.time = begin, .thread = thread()};
      }
    } else if (category == "user_annotation" || category == "cpu_op" || category == "Operator") {
      take_host_event(time);
    }
  }

  [[nodiscard]] std::int64_t thread() const { return whole(event_.thread).value_or(-1); }

  /// Old versions write annotations as operators.
  void take_host_event(const Interval& time) {
    static constexpr std::string_view kStep = "ProfilerStep#";
    const std::string_view name = event_.name;
    if (name.starts_with(kStep)) {
      const std::string digits(name.substr(kStep.size()));
      if (!digits.empty() && digits.size() < 16 &&
          digits.find_first_not_of("0123456789") == std::string::npos) {
        steps.push_back({.number = std::stoll(digits), .time = time, .thread = thread()});
      }
    } else if (name.starts_with("Optimizer.step#")) {
      optimizer_steps.push_back(time);
    } else if (name.starts_with("autograd::engine::evaluate_function")) {
      autograd_threads.insert(thread());
    }
  }

  /// What kind of work a kernel of this name is; the same names come back all the time.
  std::pair<DeviceWork, KernelKind> work_of(const std::string& name) {
    const auto [at, fresh] = known_.try_emplace(name);
    if (fresh) {
      at->second = {device_work(name), kernel_kind(name)};
    }
    return at->second;
  }

  void take_device_event(const Interval& time) {
    const auto [work, kind] = work_of(event_.name);
    if (work == DeviceWork::kMarker) {
      return;
    }
    const bool communication = work == DeviceWork::kCommunication;
    device_events.push_back({.time = time,
                             .correlation = whole(event_.correlation).value_or(-1),
                             .communication = communication,
                             .kind = kind});
    if (!communication) {
      return;
    }
    CollectiveSpan span{.name = event_.collective,
                        .group = event_.group,
                        .sequence = whole(event_.sequence),
                        .ranks = whole(event_.group_size).value_or(0),
                        .seconds = static_cast<double>(time.second - time.first) / 1e9};
    // An all-gather is as large as what every rank has in the end, a reduce-scatter as what it
    // began with.
    const auto sent = whole(event_.elements).value_or(0);
    const auto elements = std::max(sent, whole(event_.received).value_or(0));
    if (elements > 0 && elements < (std::int64_t{1} << 50)) {
      span.bytes = elements * bytes_of(event_.dtype);
    }
    collectives.emplace_back(device_events.size() - 1, std::move(span));
  }

  int depth_ = 0;
  std::string section_;    // key at depth 1
  std::string event_key_;  // key at depth 3
  std::string key_;
  RawEvent event_;
  std::unordered_map<std::string, std::pair<DeviceWork, KernelKind>> known_;
};

/// Index of the step in whose annotation the event was launched; none for events between steps.
std::optional<std::size_t> step_of(const TraceListener& trace, const DeviceEvent& event) {
  const auto launch = trace.launches.find(event.correlation);
  const std::int64_t time = launch == trace.launches.end() ? event.time.first : launch->second.time;
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

/// The part of the step whose call launched the event.
StepPart phase_of(const TraceListener& trace, const DeviceEvent& event) {
  const auto launch = trace.launches.find(event.correlation);
  if (trace.autograd_threads.empty() || launch == trace.launches.end()) {
    return StepPart::kCompute;
  }
  const auto after =
      std::ranges::upper_bound(trace.optimizer_steps, launch->second.time, {}, &Interval::first);
  if (after != trace.optimizer_steps.begin() && launch->second.time < (after - 1)->second) {
    return StepPart::kOptimizer;
  }
  const bool marks_steps = launch->second.thread == trace.steps.front().thread;
  return !marks_steps && trace.autograd_threads.contains(launch->second.thread)
             ? StepPart::kBackwardCompute
             : StepPart::kForward;
}

/// Whether the profiler recorded both steps in a row: cycles of its schedule leave steps out.
bool follows(const StepMark& first, const StepMark& second) {
  const std::int64_t length = first.time.second - first.time.first;
  return second.number == first.number + 1 && second.time.first - first.time.second <= length / 4;
}

double seconds_between(std::int64_t begin, std::int64_t end) {
  return static_cast<double>(end - begin) / 1e9;
}

/// What ran on the device for one step.
class StepEvents {
 public:
  void add(const DeviceEvent& event, StepPart phase) {
    begin_ = empty_ ? event.time.first : std::min(begin_, event.time.first);
    end_ = empty_ ? event.time.second : std::max(end_, event.time.second);
    empty_ = false;
    if (event.communication) {
      communication_.push_back(event.time);
      return;
    }
    compute_.push_back(event.time);
    phases_[phase].push_back(event.time);
    kinds_[{phase, event.kind}] += seconds_between(event.time.first, event.time.second);
  }

  [[nodiscard]] bool empty() const { return empty_; }

  [[nodiscard]] std::int64_t begin() const { return begin_; }

  [[nodiscard]] double span_s() const { return seconds_between(begin_, end_); }

  ProfiledStep summary() {
    const std::vector<Interval> computing = merged(std::move(compute_));
    const std::vector<Interval> communicating = merged(std::move(communication_));
    ProfiledStep step{.compute_s = length_s(computing),
                      .communication_s = length_s(communicating),
                      .overlap_s = common_s(computing, communicating),
                      .kinds_s = std::move(kinds_)};
    for (auto& [phase, intervals] : phases_) {
      step.phases_s[phase] = length_s(merged(std::move(intervals)));
    }
    return step;
  }

 private:
  bool empty_ = true;
  std::int64_t begin_ = 0;
  std::int64_t end_ = 0;
  std::vector<Interval> compute_;
  std::vector<Interval> communication_;
  std::map<StepPart, std::vector<Interval>> phases_;
  std::map<std::pair<StepPart, KernelKind>, double> kinds_;
};

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

  std::ranges::sort(listener.optimizer_steps);
  std::vector<StepEvents> events(listener.steps.size());
  std::vector<std::optional<std::size_t>> places;
  for (const DeviceEvent& event : listener.device_events) {
    places.push_back(step_of(listener, event));
    if (places.back()) {
      events[*places.back()].add(event, phase_of(listener, event));
    }
  }
  for (std::size_t i = 0; i < events.size(); ++i) {
    const StepMark& mark = listener.steps[i];
    ProfiledStep step = events[i].summary();
    step.number = mark.number;
    const bool followed = i + 1 < events.size() && follows(mark, listener.steps[i + 1]) &&
                          !events[i + 1].empty() && !events[i].empty();
    // Of the last step the annotation or the device's work, whichever is longer.
    step.wall_s = followed ? seconds_between(events[i].begin(), events[i + 1].begin())
                           : std::max(length_s({mark.time}), events[i].span_s());
    trace.steps.push_back(std::move(step));
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

}  // namespace vitsim
