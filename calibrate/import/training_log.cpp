#include "calibrate/import/training_log.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <map>
#include <optional>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/import/text_source.h"
#include "models/error.h"
#include "models/experiment/limits.h"

// Five ways to state the time of a step, from the surest:
//
//   Epoch: [0][ 10/5005]  Time  0.352 ( 0.812)  Data ...     one step, then the mean so far
//   Train: 0 [ 50/1251 (  4%)]  ...  Time: 0.412s, ...        one step
//   Epoch: [0]  [ 10/5005]  eta: ...  time: 0.3521  data: ...  mean of the last steps
//   iteration 10/100 | elapsed time per iteration (ms): 1234.5  mean since the last line
//   5%|#  | 100/2000 [00:50<15:50,  2.00it/s]                 whole seconds, so by difference
//   'train_steps_per_second': 2.534                           mean of the run
//
// A log that states several is read by the first of them only.

namespace vitsim {

namespace {

constexpr double kMostSeconds = 1e6;

enum class Way { kEach, kIteration, kBar, kRun };

/// The number that follows `mark` and blanks; none if there is none.
std::optional<double> number_after(std::string_view line, std::string_view mark) {
  const std::size_t at = line.find(mark);
  if (at == std::string_view::npos) {
    return std::nullopt;
  }
  std::string digits;  // without the commas between thousands
  std::size_t i = at + mark.size();
  while (i < line.size() && (line[i] == ' ' || line[i] == '\t')) {
    ++i;
  }
  for (; i < line.size() && digits.size() < 40; ++i) {
    const char c = line[i];
    const bool grouped = c == ',' && i + 1 < line.size() &&
                         std::isdigit(static_cast<unsigned char>(line[i + 1])) != 0;
    if (grouped) {
      continue;
    }
    if (std::isdigit(static_cast<unsigned char>(c)) == 0 && c != '.' && c != 'e' && c != '-' &&
        c != '+') {
      break;
    }
    digits.push_back(c);
  }
  double value = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
  const bool read = error == std::errc() && end != digits.data();
  return read && value >= 0 && value < 1e15 ? std::optional(value) : std::nullopt;
}

std::optional<std::int64_t> count_after(std::string_view line, std::string_view mark) {
  const auto value = number_after(line, mark);
  return value && *value >= 1 ? std::optional(static_cast<std::int64_t>(*value)) : std::nullopt;
}

/// "[rank3]:" of torchrun, "[default3]:" of its older versions.
std::int64_t rank_of(std::string_view line) {
  for (const std::string_view mark : {"[rank", "[default"}) {
    const std::size_t at = line.find(mark);
    if (at != std::string_view::npos && at < 64) {
      const std::string_view rest = line.substr(at + mark.size(), 8);
      const std::size_t digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
      return parse_integer(rest.substr(0, digits)).value_or(0);
    }
  }
  return 0;
}

/// "01:02:03", "02:03" and Trainer's "0:02:03.45" in seconds.
std::optional<double> clock_seconds(std::string_view text) {
  double seconds = 0;
  for (const std::string& part : split_list(text, ':')) {
    const auto value = parse_number(part);
    if (!value || *value < 0) {
      return std::nullopt;
    }
    seconds = seconds * 60 + *value;
  }
  return seconds > 0 && seconds < 1e9 ? std::optional(seconds) : std::nullopt;
}

/// A progress bar's count and elapsed seconds: "| 100/2000 [00:50<15:50,  2.00it/s]".
struct Progress {
  double done = 0;
  double total = 0;
  double elapsed_s = 0;
};

std::optional<Progress> progress_of(std::string_view line) {
  const std::size_t open = line.rfind(" [");
  const std::size_t less = line.find('<', open == std::string_view::npos ? 0 : open);
  if (open == std::string_view::npos || less == std::string_view::npos ||
      (line.find("it/s", less) == std::string_view::npos &&
       line.find("s/it", less) == std::string_view::npos)) {
    return std::nullopt;
  }
  const std::size_t slash = line.rfind('/', open);
  if (slash == std::string_view::npos) {
    return std::nullopt;
  }
  std::size_t begin = slash;
  while (begin > 0 && std::isdigit(static_cast<unsigned char>(line[begin - 1])) != 0) {
    --begin;
  }
  const auto done = parse_integer(line.substr(begin, slash - begin));
  const auto total = parse_integer(line.substr(slash + 1, open - slash - 1));
  const auto elapsed = clock_seconds(line.substr(open + 2, less - open - 2));
  if (!done || !total || !elapsed || *done < 0 || *total < 1) {
    return std::nullopt;
  }
  return Progress{.done = static_cast<double>(*done),
                  .total = static_cast<double>(*total),
                  .elapsed_s = *elapsed};
}

/// The time of one step that the line states, and by which way.
std::optional<std::pair<Way, double>> stated_step(std::string_view line) {
  const auto seconds = [](Way way,
                          std::optional<double> value,
                          double unit) -> std::optional<std::pair<Way, double>> {
    return value && *value > 0 && *value * unit < kMostSeconds
               ? std::optional(std::pair(way, *value * unit))
               : std::nullopt;
  };
  const bool epoch = line.find("Epoch: [") != std::string_view::npos;
  if (epoch || line.find("Train: ") != std::string_view::npos) {
    for (const std::string_view mark : {"Time: ", "Time ", "Time\t", " time: "}) {
      if (const auto found = seconds(Way::kEach, number_after(line, mark), 1)) {
        return found;
      }
    }
  }
  return seconds(Way::kIteration, number_after(line, "time per iteration (ms): "), 1e-3);
}

class LogReader {
 public:
  LogReader(std::istream& stream, const std::string& origin) : reader_(stream), origin_(origin) {}

  Piece read(const std::string& run);

 private:
  void read_line(std::string_view line);
  void read_banner(std::string_view line);
  void read_bar(std::string_view line);
  void settle_ranks();
  [[nodiscard]] std::map<std::int64_t, std::vector<double>> steps() const;

  LineReader reader_;
  const std::string& origin_;
  RunFacts facts_;
  std::optional<std::int64_t> total_batch_;
  std::map<Way, std::map<std::int64_t, std::vector<double>>> steps_;  // by rank
  std::optional<Progress> last_bar_;
  std::optional<double> runtime_s_;
  std::optional<double> steps_per_second_;
};

void LogReader::read_banner(std::string_view line) {
  read_trainer_banner(line, facts_);
  if (const auto batch = count_after(line, "accumulation) = ")) {
    total_batch_ = batch;
  }
  for (const std::string_view mark :
       {"'train_runtime': ", "\"train_runtime\": ", "'train_runtime': '"}) {
    if (const auto seconds = number_after(line, mark); seconds && *seconds > 0) {
      runtime_s_ = seconds;
    }
  }
  for (const std::string_view mark : {"'train_steps_per_second': ",
                                      "\"train_steps_per_second\": ",
                                      "'train_steps_per_second': '",
                                      "train_steps_per_second   = "}) {
    if (const auto rate = number_after(line, mark); rate && *rate > 0) {
      steps_per_second_ = rate;
    }
  }
  // The table at the end: "  train_runtime            = 0:02:03.45".
  if (const std::size_t at = line.find("train_runtime "); at != std::string_view::npos) {
    const std::size_t equals = line.find("= ", at);
    if (equals != std::string_view::npos) {
      runtime_s_ = clock_seconds(trimmed(line.substr(equals + 2)));
    }
  }
  if (const std::size_t at = line.find("train_steps_per_second "); at != std::string_view::npos) {
    if (const auto rate = number_after(line.substr(at), "= "); rate && *rate > 0) {
      steps_per_second_ = rate;
    }
  }
}

/// Whole seconds tell a step's time over a while only.
void LogReader::read_bar(std::string_view line) {
  constexpr double kLeast_s = 20;
  const auto bar = progress_of(line);
  if (!bar) {
    return;
  }
  if (!last_bar_ || bar->total != last_bar_->total || bar->done < last_bar_->done) {
    last_bar_ = bar;  // another bar: of evaluation, or of the next start
    return;
  }
  const double elapsed = bar->elapsed_s - last_bar_->elapsed_s;
  if (elapsed >= kLeast_s && bar->done > last_bar_->done) {
    steps_[Way::kBar][0].push_back(elapsed / (bar->done - last_bar_->done));
    last_bar_ = bar;
  }
}

void LogReader::read_line(std::string_view line) {
  if (const auto step = stated_step(line)) {
    steps_[step->first][std::min<std::int64_t>(rank_of(line), 999'999)].push_back(step->second);
    return;
  }
  read_banner(line);
  read_bar(line);
}

/// The whole batch is that of all ranks.
void LogReader::settle_ranks() {
  if (!total_batch_ || facts_.micro_batch.empty()) {
    return;
  }
  const std::int64_t own = facts_.micro_batch.front() * facts_.accumulation.value_or(1);
  if (*total_batch_ % own == 0 && *total_batch_ / own <= kMostRanks) {
    facts_.world_size = *total_batch_ / own;
  }
}

std::map<std::int64_t, std::vector<double>> LogReader::steps() const {
  if (!steps_.empty()) {
    return steps_.begin()->second;
  }
  if (steps_per_second_) {
    return {{0, {1 / *steps_per_second_}}};
  }
  return {};
}

Piece LogReader::read(const std::string& run) {
  std::string line;
  while (reader_.next(line)) {
    // A bar is drawn over and over in one line.
    for (const std::string& part : split_list(line, '\r')) {
      read_line(part);
    }
  }
  const auto by_rank = steps();
  if (by_rank.empty()) {
    throw UserError(
        fmt::format("{}: a training's log, but it states no time of a step: neither a line of "
                    "step times nor \"train_steps_per_second\" is in it",
                    origin_));
  }
  settle_ranks();
  Piece piece{.origin = origin_, .run = run, .authority = Authority::kLog};
  for (const auto& [rank, seconds] : by_rank) {
    Sample sample = step_sample(rank, seconds);
    // Of means of many steps the first holds the warm-up.
    sample.warm_up = std::min<std::int64_t>(steps_.contains(Way::kEach) ? kWarmUpSteps : 1,
                                            std::ssize(seconds) - 1);
    piece.samples.push_back(std::move(sample));
  }
  if (runtime_s_ && facts_.epochs) {
    piece.samples.push_back(
        {.series = EpochSeries{.seconds = {*runtime_s_ / static_cast<double>(*facts_.epochs)}}});
  }
  facts_.wall_clock_breakdown = false;
  piece.facts = std::move(facts_);
  return piece;
}

}  // namespace

void read_trainer_banner(std::string_view line, RunFacts& facts) {
  if (line.find(" = ") == std::string_view::npos) {
    return;
  }
  const auto set = [&](std::optional<std::int64_t>& fact, std::string_view mark) {
    if (const auto value = count_after(line, mark)) {
      fact = value;
    }
  };
  set(facts.samples, "Num examples = ");
  set(facts.epochs, "Num Epochs = ");
  set(facts.accumulation, "Gradient Accumulation steps = ");
  set(facts.parameters, "Number of trainable parameters = ");
  for (const std::string_view mark :
       {"Instantaneous batch size per device = ", "Batch size per device = "}) {
    if (const auto batch = count_after(line, mark)) {
      facts.micro_batch = {*batch};
    }
  }
}

bool marks_training_log(std::string_view line) {
  static constexpr std::array<std::string_view, 4> kMarks = {"***** Running training *****",
                                                             "train_runtime",
                                                             "elapsed time per iteration (ms):",
                                                             "train_steps_per_second"};
  return std::ranges::any_of(
             kMarks,
             [&](std::string_view mark) { return line.find(mark) != std::string_view::npos; }) ||
         stated_step(line).has_value();
}

Piece read_training_log(std::istream& stream, const std::string& origin, const std::string& run) {
  return LogReader(stream, origin).read(run);
}

}  // namespace vitsim
