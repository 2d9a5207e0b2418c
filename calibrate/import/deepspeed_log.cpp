#include "calibrate/import/deepspeed_log.h"

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>
#include <string_view>
#include <vector>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/deepspeed_timers.h"
#include "calibrate/import/text_source.h"
#include "calibrate/import/training_log.h"
#include "models/document/words.h"
#include "models/error.h"
#include "models/experiment/limits.h"

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
// One file may hold several starts: a scheduler's log of repeats, a sweep, a training that was
// restarted. Every start is a run of its own, with the facts that it printed itself. A start is
// known by DeepSpeed's banner or configuration, or by a rank that introduces itself again, where
// steps were printed before.
//
// A step is what its step line closes. The number of micro-steps before most step lines is the
// gradient accumulation; steps with another number have lost a line and are left out. With one
// micro-step per step both lines say the same, and one of them is enough.

namespace vitsim {

namespace {

constexpr std::int64_t kMostWarnings = 5;  // of one kind

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
  std::vector<DeepspeedTimers> micro_steps;
  DeepspeedTimers sums;
};

/// What one start of the training printed.
struct Attempt {
  std::int64_t first_line = 1;
  std::map<std::int64_t, std::vector<Step>> steps;                  // by rank
  std::map<std::int64_t, std::vector<DeepspeedTimers>> unfinished;  // micro-steps not yet closed
  RunFacts facts;
  bool configured = false;  // the configuration was printed
  std::map<std::string, std::string> environment;
  std::map<std::int64_t, std::int64_t> local_ranks;
  std::set<std::int64_t> introduced;  // ranks that printed a banner of their own
  std::optional<std::string> refused_stage;

  [[nodiscard]] std::size_t count() const {
    std::size_t most = 0;
    for (const auto& [rank, list] : steps) {
      most = std::max(most, list.size());
    }
    return most;
  }

  [[nodiscard]] bool has_steps(std::int64_t rank) const {
    const auto found = steps.find(rank);
    return found != steps.end() && !found->second.empty();
  }
};

class LogParser {
 public:
  LogParser(std::istream& stream, const std::string& origin) : reader_(stream), origin_(origin) {}

  std::vector<Piece> parse(const std::string& run);

 private:
  void read_line(std::string_view line);
  void read_times(std::string_view line, std::size_t at);
  void read_facts(std::string_view line);
  void read_configuration(std::string_view key, std::string_view value);
  void read_stage(std::string_view value);
  void read_places(std::string_view line);
  void read_banner(std::string_view line);
  void read_optimizer(std::string_view line);
  void start_attempt();
  void introduce(std::int64_t rank);
  void add_samples(Piece& piece, Attempt& attempt);
  Piece piece_of(Attempt& attempt);
  void warn(const std::string& text);

  LineReader reader_;
  const std::string& origin_;
  bool seen_ = false;  // anything of DeepSpeed
  Attempt attempt_;
  std::vector<Attempt> earlier_;
  std::int64_t mangled_ = 0;
  std::int64_t foreign_ = 0;
  std::vector<std::string> warnings_;
};

void LogParser::warn(const std::string& text) {
  warnings_.push_back(fmt::format("{}:{}: {}", origin_, reader_.number(), text));
}

/// What was printed before belongs to an earlier start.
void LogParser::start_attempt() {
  earlier_.push_back(std::move(attempt_));
  attempt_ = {.first_line = reader_.number()};
}

/// A rank that has printed steps and introduces itself is of a new start.
void LogParser::introduce(std::int64_t rank) {
  if (attempt_.has_steps(rank) && attempt_.introduced.contains(rank)) {
    start_attempt();
  }
  attempt_.introduced.insert(rank);
}

void LogParser::read_times(std::string_view line, std::size_t at) {
  seen_ = true;
  std::size_t from = 0;
  while (at != std::string_view::npos) {
    const std::string_view before = line.substr(from, at - from);
    const std::int64_t rank = std::min(integer_after(before, "[Rank ").value_or(0), kMostRanks - 1);
    from = at + kTimersMark.size();
    at = line.find(kTimersMark, from);
    DeepspeedTimerLine timers;
    const TimersFound found = read_deepspeed_timers(line.substr(from, at - from), timers);
    if (found == TimersFound::kMangled) {
      if (++mangled_ <= kMostWarnings) {
        warn(reader_.ended() ? "a timer line is mangled by other text, left out"
                             : "the file ends in the middle of a timer line, left out");
      }
    } else if (found == TimersFound::kForeign) {
      ++foreign_;
    } else if (timers.micro_step) {
      attempt_.unfinished[rank].push_back(timers.timers);
    } else {
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
    attempt_.facts.world_size = integer();
  } else if (key == "train_micro_batch_size_per_gpu") {
    if (const auto batch = integer()) {
      attempt_.facts.micro_batch = {*batch};
    }
  } else if (key == "gradient_accumulation_steps") {
    attempt_.facts.accumulation = integer();
  } else if (key == "fp16_enabled" || key == "float16_config") {
    if (is_on()) {
      attempt_.facts.precision = Precision::kFp16;
    } else if (!attempt_.facts.precision) {
      attempt_.facts.precision = Precision::kFp32;
    }
  } else if (key == "bfloat16_enabled" || key == "bfloat16_config") {
    if (is_on()) {
      attempt_.facts.precision = Precision::kBf16;
    }
  } else if (key == "amp_enabled") {
    if (is_on()) {
      attempt_.facts.precision = Precision::kAmpFp16;
    }
  } else if (key == "torch_autocast_enabled") {
    if (is_on()) {
      attempt_.facts.precision = Precision::kAmpBf16;
    }
  } else if (key == "torch_autocast_dtype") {
    if (attempt_.facts.precision == Precision::kAmpBf16 && value == "torch.float16") {
      attempt_.facts.precision = Precision::kAmpFp16;
    }
  } else if (key == "wall_clock_breakdown") {
    attempt_.facts.wall_clock_breakdown = value == "True";
  } else if (key == "zero_optimization_stage") {
    read_stage(value);
  } else if (key == "gradient_clipping") {
    attempt_.environment["gradient_clipping"] = value;
  }
}

/// A stage that the simulator does not know sends something else than those it knows: its steps are
/// not another stage's.
void LogParser::read_stage(std::string_view value) {
  const std::string sync = fmt::format("deepspeed-zero-{}", value);
  const auto known = std::ranges::find(kGradientSyncNames, sync);
  if (known == kGradientSyncNames.end()) {
    attempt_.refused_stage = std::string(value.substr(0, 8));
    return;
  }
  attempt_.refused_stage.reset();
  attempt_.facts.gradient_sync = static_cast<GradientSync>(known - kGradientSyncNames.begin());
}

/// The MPI discovery line says which ranks are first, second, ... on their machine.
void LogParser::read_places(std::string_view line) {
  const auto world = integer_after(line, " world_size=");
  const auto rank = integer_after(line, "world_rank=");
  const auto local = integer_after(line, "local_rank=");
  if (world && rank && local && *world > 0 && *world <= kMostRanks && *rank < *world) {
    introduce(*rank);
    attempt_.facts.world_size = *world;
    attempt_.local_ranks[*rank] = *local;
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
  if (const auto rank = integer_after(line.substr(0, at + 12), "rank ")) {
    introduce(std::min(*rank, kMostRanks));
  }
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
      if (slash != std::string_view::npos && !attempt_.facts.world_size) {
        attempt_.facts.world_size = number(value.substr(slash + 1));
        if (attempt_.facts.world_size > kMostRanks) {
          attempt_.facts.world_size.reset();
        }
      }
    } else if (key == "parameters") {
      attempt_.facts.parameters = number(value);
    } else if (key == "micro_batch" && attempt_.facts.micro_batch.empty()) {
      if (const auto batch = number(value)) {
        attempt_.facts.micro_batch = {*batch};
      }
    } else if (key == "gas" && !attempt_.facts.accumulation) {
      attempt_.facts.accumulation = number(value);
    } else if (key == "torch" || key == "deepspeed" || key == "backend" || key == "threads") {
      attempt_.environment[key] = value.substr(0, value.find('['));
    }
  }
}

void LogParser::read_optimizer(std::string_view line) {
  static constexpr std::string_view kOptimizer = "DeepSpeed Final Optimizer = ";
  if (const std::size_t at = line.find(kOptimizer); at != std::string_view::npos) {
    std::string_view name = line.substr(at + kOptimizer.size());
    name = name.substr(
        0, name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"));
    if (name.find("Adam") != std::string_view::npos) {
      attempt_.facts.optimizer = OptimizerKind::kAdamW;
    } else if (name.find("Lamb") != std::string_view::npos ||
               name.find("LAMB") != std::string_view::npos) {
      attempt_.facts.optimizer = OptimizerKind::kLamb;
    } else if (name == "SGD") {
      attempt_.facts.optimizer = OptimizerKind::kSgd;
    } else {
      warn(fmt::format("optimizer {} is not known to the simulator", name));
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
    if (attempt_.count() > 0) {
      start_attempt();
    } else if (attempt_.configured) {
      // A start that ended before its first step: what it printed is not the next one's.
      attempt_.facts = {.world_size = attempt_.facts.world_size,
                        .optimizer = attempt_.facts.optimizer};
      attempt_.refused_stage.reset();
    }
    attempt_.configured = true;
    return;
  }
  if (line.find("Discovered MPI settings") != std::string_view::npos) {
    read_places(line);
    return;
  }
  static constexpr std::string_view kVersion = "DeepSpeed info: version=";
  if (const std::size_t at = line.find(kVersion); at != std::string_view::npos) {
    if (attempt_.count() > 0) {
      start_attempt();
    }
    const std::string_view rest = line.substr(at + kVersion.size());
    attempt_.environment["deepspeed"] = rest.substr(0, rest.find_first_of(", "));
  }
  read_optimizer(line);
  static constexpr std::string_view kWorld = "self.dp_world_size=";
  if (const auto world = integer_after(line, kWorld); world && *world > 0 && *world <= kMostRanks) {
    attempt_.facts.world_size = *world;
  }
  read_banner(line);
  read_trainer_banner(line, attempt_.facts);
  seen_ = seen_ || line.find("DeepSpeed") != std::string_view::npos ||
          line.find("deepspeed") != std::string_view::npos;
}

void LogParser::read_line(std::string_view line) {
  if (const std::size_t at = line.find(kTimersMark); at != std::string_view::npos) {
    read_times(line, at);
  } else {
    read_facts(line);
  }
}

/// The steps that have as many micro-steps as most have.
void LogParser::add_samples(Piece& piece, Attempt& attempt) {
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
      std::vector<DeepspeedTimers> micro_steps = step.micro_steps;
      if (micro_steps.empty()) {
        micro_steps = {step.sums};
      }
      if (micro_steps.size() != accumulation) {
        ++lost;
        continue;
      }
      for (const DeepspeedTimers& micro_step : micro_steps) {
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
  RunFacts& facts = piece.facts;
  if (facts.accumulation && *facts.accumulation != derived) {
    piece.warnings.push_back(fmt::format(
        "{}: {} micro-steps per step were printed, the configuration says {}: the first is taken",
        origin_,
        derived,
        *facts.accumulation));
  }
  facts.accumulation = derived;
  facts.wall_clock_breakdown = true;
}

void settle_places(const std::map<std::int64_t, std::int64_t>& local_ranks, RunFacts& facts) {
  if (facts.world_size.value_or(1) < 2 || std::ssize(local_ranks) != *facts.world_size) {
    return;
  }
  const bool alone = std::ranges::all_of(local_ranks, [](auto entry) { return entry.second == 0; });
  const bool together =
      std::ranges::all_of(local_ranks, [](auto entry) { return entry.second == entry.first; });
  if (alone != together) {
    facts.one_node = together;
  }
}

Piece LogParser::piece_of(Attempt& attempt) {
  Piece piece{.origin = origin_,
              .authority = Authority::kLog,
              .facts = std::move(attempt.facts),
              .environment = std::move(attempt.environment)};
  add_samples(piece, attempt);
  settle_places(attempt.local_ranks, piece.facts);
  return piece;
}

std::vector<Piece> LogParser::parse(const std::string& run) {
  std::string line;
  while (reader_.next(line)) {
    read_line(line);
  }
  if (!seen_) {
    throw UserError(fmt::format("{}: nothing of DeepSpeed is in it", origin_));
  }
  if (mangled_ > kMostWarnings) {
    warnings_.push_back(
        fmt::format("{}: {} timer lines are cut or mangled by other text", origin_, mangled_));
  }
  if (foreign_ > 0) {
    warnings_.push_back(
        fmt::format("{}: {} lines of other timers (of the optimizer or the pipeline) are not used",
                    origin_,
                    foreign_));
  }
  earlier_.push_back(std::move(attempt_));
  std::vector<Piece> pieces;
  std::size_t without_steps = 0;
  for (Attempt& attempt : earlier_) {
    if (attempt.count() > 0 && attempt.refused_stage) {
      warnings_.push_back(
          fmt::format("{}: the start at line {}, {} steps, is left out: ZeRO stage {} is not "
                      "simulated, and no other stage sends the same",
                      origin_,
                      attempt.first_line,
                      attempt.count(),
                      in_quotes(*attempt.refused_stage)));
    } else if (attempt.count() > 0) {
      pieces.push_back(piece_of(attempt));
    } else {
      ++without_steps;
    }
  }
  if (pieces.empty()) {
    // Facts of a rank that prints no times, or of starts that are left out.
    earlier_.back().steps.clear();
    pieces.push_back(piece_of(earlier_.back()));
  } else if (without_steps > 0 && earlier_.size() > 1) {
    warnings_.push_back(fmt::format(
        "{}: {} of {} starts printed no step", origin_, without_steps, earlier_.size()));
  }
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    pieces[i].run = i == 0 ? run : fmt::format("{} ({})", run, i + 1);
    pieces[i].start_of = run;
  }
  std::ranges::move(pieces.front().warnings, std::back_inserter(warnings_));
  pieces.front().warnings = std::move(warnings_);
  return pieces;
}

}  // namespace

std::vector<Piece> read_deepspeed_log(std::istream& stream,
                                      const std::string& origin,
                                      const std::string& run) {
  return LogParser(stream, origin).parse(run);
}

}  // namespace vitsim
