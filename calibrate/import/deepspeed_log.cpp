#include "calibrate/import/deepspeed_log.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/text_source.h"
#include "models/error.h"

// DeepSpeed prints two kinds of timer lines: one after every micro-step, whose timers end in
// `_microstep`, and one after every step, with the sums since the step before.
//
//   [Rank 0] time (ms) | fwd_microstep: 63.35 | bwd_microstep: 518.18 | bwd_inner_microstep: ...
//   [Rank 0] time (ms) | fwd: 63.35 | bwd: 518.18 | bwd_inner: 138.54 | bwd_allreduce: ...
//
// Around them stands anything: date and level before 2025, a progress bar that shares the stream,
// the launcher's mark of the rank, the text of another rank. So a timer line is searched anywhere
// in a line of the file, and because every figure has exactly two decimals the text that follows
// without a blank, or a figure that is cut, is told from the figure itself.
//
// A step is what its step line closes. The number of micro-steps before most step lines is the
// gradient accumulation; steps with another number have lost a line and are left out. With one
// micro-step per step both lines say the same, and one of them is enough.

namespace vitsim {

namespace {

constexpr std::string_view kMark = "time (ms) |";
constexpr std::int64_t kMostRanks = 1'000'000;
constexpr std::int64_t kMostWarnings = 5;  // of one kind

/// The five timers, in milliseconds.
struct Timers {
  double forward = 0;
  double backward = 0;
  double backward_inner = 0;
  double all_reduce = 0;
  double step = 0;
};

struct TimerLine {
  bool micro_step = false;
  Timers timers;
};

/// Skips `text` past a figure as "%.2f" prints it and gives its value; none if it is cut.
std::optional<double> take_figure(std::string_view& text) {
  std::size_t digits = 0;
  while (digits < text.size() && std::isdigit(static_cast<unsigned char>(text[digits])) != 0) {
    ++digits;
  }
  constexpr std::size_t kLongest = 12;  // 30 years
  if (digits == 0 || digits > kLongest || digits + 3 > text.size() || text[digits] != '.') {
    return std::nullopt;
  }
  const std::optional<double> value = parse_number(text.substr(0, digits + 3));
  text.remove_prefix(digits + 3);
  return value;
}

enum class Found { kNothing, kTimers, kMangled };

/// Reads the timers that follow the mark. Lines of other timers (ZeRO's own) are nothing; lines
/// that have some but not all of the five, or a cut figure, are mangled.
Found read_timers(std::string_view text, TimerLine& line) {
  static constexpr std::string_view kMicroStep = "_microstep";
  std::array<std::optional<double>, 5> values;
  std::array<int, 2> kinds = {0, 0};
  bool cut = false;
  while (true) {
    while (text.starts_with(' ')) {
      text.remove_prefix(1);
    }
    const std::size_t end = text.find_first_not_of("abcdefghijklmnopqrstuvwxyz_");
    std::string_view name = text.substr(0, end);
    const std::size_t length = name.size();
    const bool micro_step = name.ends_with(kMicroStep);
    if (micro_step) {
      name.remove_suffix(kMicroStep.size());
    }
    static constexpr std::array<std::array<std::string_view, 2>, 5> kNames = {
        {{"fwd", "forward"},
         {"bwd", "backward"},
         {"bwd_inner", "backward_inner"},
         {"bwd_allreduce", "backward_allreduce"},
         {"step", "step"}}
    };
    const auto known = std::ranges::find_if(
        kNames, [&](const auto& names) { return std::ranges::find(names, name) != names.end(); });
    text.remove_prefix(length);
    if (!text.starts_with(": ")) {
      cut = cut || length > 0 || text.empty();
      break;
    }
    text.remove_prefix(2);
    const std::optional<double> value = take_figure(text);
    if (!value) {
      cut = true;
      break;
    }
    if (known != kNames.end()) {
      values[static_cast<std::size_t>(known - kNames.begin())] = value;
      ++kinds[micro_step ? 1 : 0];
    }
    if (!text.starts_with(" |")) {
      break;
    }
    text.remove_prefix(2);
  }
  const auto present = std::ranges::count_if(values, [](const auto& v) { return v.has_value(); });
  if (present == 0) {
    return cut ? Found::kMangled : Found::kNothing;
  }
  if (present < std::ssize(values) || (kinds[0] > 0 && kinds[1] > 0)) {
    return Found::kMangled;
  }
  line = {
      .micro_step = kinds[1] > 0,
      .timers = {.forward = *values[0],
                 .backward = *values[1],
                 .backward_inner = *values[2],
                 .all_reduce = *values[3],
                 .step = *values[4]}
  };
  return Found::kTimers;
}

/// The digits that follow the last `word` before `limit`.
std::optional<std::int64_t> integer_after(std::string_view text, std::string_view word) {
  const std::size_t at = text.rfind(word);
  if (at == std::string_view::npos) {
    return std::nullopt;
  }
  text.remove_prefix(at + word.size());
  const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
  return digits > 15 ? std::nullopt : parse_integer(text.substr(0, digits));
}

/// One step: its micro-steps, and the sums of its step line.
struct Step {
  std::vector<Timers> micro_steps;
  Timers sums;
};

/// What one start of the training printed.
struct Attempt {
  std::int64_t first_line = 0;
  std::map<std::int64_t, std::vector<Step>> steps;         // by rank
  std::map<std::int64_t, std::vector<Timers>> unfinished;  // micro-steps not yet closed

  [[nodiscard]] std::size_t count() const {
    std::size_t most = 0;
    for (const auto& [rank, list] : steps) {
      most = std::max(most, list.size());
    }
    return most;
  }
};

class LogParser {
 public:
  LogParser(std::istream& stream, const std::string& origin) : reader_(stream), origin_(origin) {}

  Piece parse(const std::string& run);

 private:
  void read_line(std::string_view line);
  void read_times(std::string_view line);
  void read_facts(std::string_view line);
  void read_configuration(std::string_view key, std::string_view value);
  void read_places(std::string_view line);
  void read_banner(std::string_view line);
  void start_attempt();
  void add_samples(Piece& piece, const Attempt& attempt);
  void settle_places();
  void warn(const std::string& text);

  LineReader reader_;
  const std::string& origin_;
  bool seen_ = false;  // anything of DeepSpeed
  Attempt attempt_;
  std::vector<Attempt> earlier_;
  std::int64_t mangled_ = 0;
  RunFacts facts_;
  std::map<std::string, std::string> environment_;
  std::map<std::int64_t, std::int64_t> local_ranks_;
  std::vector<std::string> warnings_;
};

void LogParser::warn(const std::string& text) {
  warnings_.push_back(fmt::format("{}:{}: {}", origin_, reader_.number(), text));
}

void LogParser::start_attempt() {
  if (attempt_.count() > 0) {
    earlier_.push_back(std::move(attempt_));
  }
  attempt_ = {.first_line = reader_.number()};
}

void LogParser::read_times(std::string_view line) {
  std::size_t from = 0;
  for (std::size_t at = line.find(kMark); at != std::string_view::npos;
       at = line.find(kMark, from)) {
    seen_ = true;
    const std::string_view before = line.substr(from, at - from);
    const std::int64_t rank = std::min(integer_after(before, "[Rank ").value_or(0), kMostRanks - 1);
    from = at + kMark.size();
    const std::string_view after = line.substr(from, line.find(kMark, from) - from);
    TimerLine timers;
    const Found found = read_timers(after, timers);
    if (found == Found::kMangled) {
      if (++mangled_ <= kMostWarnings) {
        warn(reader_.ended() ? "a timer line is mangled by other text, left out"
                             : "the file ends in the middle of a timer line, left out");
      }
    } else if (found == Found::kTimers && timers.micro_step) {
      attempt_.unfinished[rank].push_back(timers.timers);
    } else if (found == Found::kTimers) {
      auto& open = attempt_.unfinished[rank];
      attempt_.steps[rank].push_back({.micro_steps = std::move(open), .sums = timers.timers});
      open.clear();
    }
  }
}

/// `key ..... value` of the printed configuration.
void LogParser::read_configuration(std::string_view key, std::string_view value) {
  const auto integer = [&]() -> std::optional<std::int64_t> {
    const auto number = parse_integer(value);
    return number && *number > 0 && *number <= 1'000'000'000 ? number : std::nullopt;
  };
  const auto is_on = [&] { return value == "True" || value.starts_with("enabled=True"); };
  if (key == "world_size") {
    facts_.world_size = integer();
  } else if (key == "train_micro_batch_size_per_gpu") {
    if (const auto batch = integer()) {
      facts_.micro_batch = {*batch};
    }
  } else if (key == "gradient_accumulation_steps") {
    facts_.accumulation = integer();
  } else if (key == "fp16_enabled" || key == "float16_config") {
    if (is_on()) {
      facts_.precision = Precision::kFp16;
    } else if (!facts_.precision) {
      facts_.precision = Precision::kFp32;
    }
  } else if (key == "bfloat16_enabled" || key == "bfloat16_config") {
    if (is_on()) {
      facts_.precision = Precision::kBf16;
    }
  } else if (key == "amp_enabled") {
    if (is_on()) {
      facts_.precision = Precision::kAmpFp16;
    }
  } else if (key == "wall_clock_breakdown") {
    facts_.wall_clock_breakdown = value == "True";
  } else if (key == "zero_optimization_stage") {
    if (value == "0") {
      facts_.gradient_sync = GradientSync::kDeepspeedZero0;
    } else if (value == "1") {
      facts_.gradient_sync = GradientSync::kDeepspeedZero1;
    } else {
      warn(fmt::format("ZeRO stage {} is not known to the simulator", value));
    }
  } else if (key == "gradient_clipping") {
    environment_["gradient_clipping"] = value;
  }
}

/// The MPI discovery line says which ranks are first, second, ... on their machine.
void LogParser::read_places(std::string_view line) {
  const auto world = integer_after(line, " world_size=");
  const auto rank = integer_after(line, "world_rank=");
  const auto local = integer_after(line, "local_rank=");
  if (world && rank && local && *world > 0 && *world <= kMostRanks && *rank < *world) {
    facts_.world_size = *world;
    local_ranks_[*rank] = *local;
  }
}

/// A line of the training script that states `rank r/n ... micro_batch b`: since 0.19 the default
/// log level prints no configuration, and scripts say it themselves.
void LogParser::read_banner(std::string_view line) {
  const std::size_t at = line.find("rank ");
  if (at == std::string_view::npos || line.find(" micro_batch ") == std::string_view::npos) {
    return;
  }
  const std::vector<std::string> words = split_list(line.substr(at), ' ');
  const auto number = [](std::string_view text) {
    const std::size_t digits = std::min(text.find_first_not_of("0123456789"), text.size());
    const auto value = parse_integer(text.substr(0, digits));
    return value && *value > 0 && *value < 1'000'000'000'000 ? value : std::nullopt;
  };
  for (std::size_t i = 0; i + 1 < words.size(); i += 2) {
    const std::string& key = words[i];
    const std::string_view value = words[i + 1];
    if (key == "rank") {
      const std::size_t slash = value.find('/');
      if (slash != std::string_view::npos && !facts_.world_size) {
        facts_.world_size = number(value.substr(slash + 1));
        if (facts_.world_size > kMostRanks) {
          facts_.world_size.reset();
        }
      }
    } else if (key == "parameters") {
      facts_.parameters = number(value);
    } else if (key == "micro_batch" && facts_.micro_batch.empty()) {
      if (const auto batch = number(value)) {
        facts_.micro_batch = {*batch};
      }
    } else if (key == "gas" && !facts_.accumulation) {
      facts_.accumulation = number(value);
    } else if (key == "torch" || key == "deepspeed" || key == "backend" || key == "threads") {
      environment_[key] = value.substr(0, value.find('['));
    }
  }
}

void LogParser::read_facts(std::string_view line) {
  static constexpr std::string_view kPrint = "print]   ";
  if (const std::size_t at = line.find(kPrint); at != std::string_view::npos) {
    const std::string_view rest = line.substr(at + kPrint.size());
    const std::size_t key_end = rest.find(' ');
    if (key_end != std::string_view::npos) {
      const std::size_t value = std::min(rest.find_first_not_of(" .", key_end), rest.size());
      std::string_view text = rest.substr(value);
      // A launcher's mark may follow without a blank.
      text = trimmed(text.substr(0, text.find('[')));
      read_configuration(rest.substr(0, key_end), text);
    }
    return;
  }
  if (line.find("DeepSpeedEngine configuration:") != std::string_view::npos) {
    seen_ = true;
    start_attempt();
    return;
  }
  if (line.find("Discovered MPI settings") != std::string_view::npos) {
    read_places(line);
    return;
  }
  static constexpr std::string_view kVersion = "DeepSpeed info: version=";
  if (const std::size_t at = line.find(kVersion); at != std::string_view::npos) {
    const std::string_view rest = line.substr(at + kVersion.size());
    environment_["deepspeed"] = rest.substr(0, rest.find_first_of(", "));
  }
  static constexpr std::string_view kOptimizer = "DeepSpeed Final Optimizer = ";
  if (const std::size_t at = line.find(kOptimizer); at != std::string_view::npos) {
    std::string_view name = line.substr(at + kOptimizer.size());
    name = name.substr(
        0, name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"));
    if (name.find("Adam") != std::string_view::npos) {
      facts_.optimizer = OptimizerKind::kAdamW;
    } else if (name.find("Lamb") != std::string_view::npos ||
               name.find("LAMB") != std::string_view::npos) {
      facts_.optimizer = OptimizerKind::kLamb;
    } else if (name == "SGD") {
      facts_.optimizer = OptimizerKind::kSgd;
    } else {
      warn(fmt::format("optimizer {} is not known to the simulator", name));
    }
  }
  static constexpr std::string_view kWorld = "self.dp_world_size=";
  if (const auto world = integer_after(line, kWorld); world && *world > 0 && *world <= kMostRanks) {
    facts_.world_size = *world;
  }
  read_banner(line);
  seen_ = seen_ || line.find("DeepSpeed") != std::string_view::npos ||
          line.find("deepspeed") != std::string_view::npos;
}

void LogParser::read_line(std::string_view line) {
  if (line.find(kMark) != std::string_view::npos) {
    read_times(line);
  } else {
    read_facts(line);
  }
}

/// The steps that have as many micro-steps as most have.
void LogParser::add_samples(Piece& piece, const Attempt& attempt) {
  std::map<std::size_t, std::size_t> sizes;
  for (const auto& [rank, steps] : attempt.steps) {
    for (const Step& step : steps) {
      ++sizes[std::max<std::size_t>(step.micro_steps.size(), 1)];
    }
  }
  if (sizes.empty()) {
    return;
  }
  const std::size_t accumulation =
      std::ranges::max_element(sizes, {}, [](const auto& entry) { return entry.second; })->first;
  std::size_t lost = 0;
  for (const auto& [rank, steps] : attempt.steps) {
    std::vector<double> forward;
    std::vector<double> backward;
    std::vector<double> compute;
    std::vector<double> all_reduce;
    std::vector<double> optimizer;
    for (const Step& step : steps) {
      std::vector<Timers> micro_steps = step.micro_steps;
      if (micro_steps.empty()) {
        micro_steps = {step.sums};
      }
      if (micro_steps.size() != accumulation) {
        ++lost;
        continue;
      }
      for (const Timers& micro_step : micro_steps) {
        forward.push_back(micro_step.forward / 1e3);
        backward.push_back(micro_step.backward / 1e3);
        compute.push_back(micro_step.backward_inner / 1e3);
        all_reduce.push_back(micro_step.all_reduce / 1e3);
        optimizer.push_back(micro_step.step / 1e3);
      }
    }
    if (optimizer.empty()) {
      continue;
    }
    const auto add = [&, rank = rank](StepPart part, std::vector<double> seconds) {
      piece.samples.push_back(
          phase_sample(part, rank, std::move(seconds), static_cast<std::int64_t>(accumulation)));
    };
    add(StepPart::kForward, std::move(forward));
    add(StepPart::kBackward, std::move(backward));
    add(StepPart::kBackwardCompute, std::move(compute));
    add(StepPart::kGradientAllReduce, std::move(all_reduce));
    add(StepPart::kOptimizer, std::move(optimizer));
  }
  if (lost > 0) {
    piece.warnings.push_back(
        fmt::format("{}: {} steps have other than {} micro-steps (lines are lost), left out",
                    origin_,
                    lost,
                    accumulation));
  }
  const auto derived = static_cast<std::int64_t>(accumulation);
  if (facts_.accumulation && *facts_.accumulation != derived) {
    piece.warnings.push_back(fmt::format(
        "{}: {} micro-steps per step were printed, the configuration says {}: the first is taken",
        origin_,
        derived,
        *facts_.accumulation));
  }
  facts_.accumulation = derived;
  facts_.wall_clock_breakdown = true;
}

void LogParser::settle_places() {
  if (facts_.world_size.value_or(1) < 2 || std::ssize(local_ranks_) != *facts_.world_size) {
    return;
  }
  const bool alone =
      std::ranges::all_of(local_ranks_, [](auto entry) { return entry.second == 0; });
  const bool together =
      std::ranges::all_of(local_ranks_, [](auto entry) { return entry.second == entry.first; });
  if (alone != together) {
    facts_.one_node = together;
  }
}

Piece LogParser::parse(const std::string& run) {
  std::string line;
  while (reader_.next(line)) {
    read_line(line);
  }
  if (!seen_) {
    throw UserError(fmt::format("{}: nothing of DeepSpeed is in it", origin_));
  }
  Piece piece{.origin = origin_, .run = run, .authority = Authority::kLog};
  if (mangled_ > kMostWarnings) {
    warnings_.push_back(
        fmt::format("{}: {} timer lines are cut or mangled by other text", origin_, mangled_));
  }
  const Attempt* longest = &attempt_;
  for (const Attempt& attempt : earlier_) {
    if (attempt.count() > longest->count()) {
      longest = &attempt;
    }
  }
  if (!earlier_.empty()) {
    warnings_.push_back(
        fmt::format("{}: the training was started {} times; the longest, from line {}, is taken",
                    origin_,
                    earlier_.size() + 1,
                    longest->first_line));
  }
  piece.warnings = std::move(warnings_);
  add_samples(piece, *longest);
  settle_places();
  piece.facts = std::move(facts_);
  piece.environment = std::move(environment_);
  return piece;
}

}  // namespace

Piece read_deepspeed_log(std::istream& stream, const std::string& origin, const std::string& run) {
  return LogParser(stream, origin).parse(run);
}

}  // namespace vitsim
