#include "sim/assess/validation_history.h"

#include <algorithm>
#include <cmath>
#include <ctime>
#include <fstream>
#include <sstream>

#include <fmt/chrono.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/document.h"
#include "models/error.h"

namespace vitsim {

namespace {

constexpr const char* kSchema = "vitsim-validation-history/1";
// What earlier versions wrote.
constexpr const char* kOldSchema = "vitsim-validation/1";

nlohmann::json to_line(const ValidationRecord& record) {
  const auto optional = [](const std::optional<bool>& value) {
    return value ? nlohmann::json(*value) : nlohmann::json();
  };
  return {{"schema", kSchema},
          {"created", record.created},
          {"name", record.name},
          {"kind", record.kind},
          {"ranks", record.ranks},
          {"figure", record.figure},
          {"predicted_s", record.predicted_s},
          {"measured_s", record.measured_s},
          {"error", record.error()},
          {"inside", optional(record.inside)},
          {"slowest_named", optional(record.slowest_named)},
          {"runs", record.runs},
          {"disturbed", record.disturbed}};
}

ValidationRecord from_line(const nlohmann::json& json) {
  const auto schema = json.at("schema").get<std::string>();
  if (schema != kSchema && schema != kOldSchema) {
    throw UserError(fmt::format("schema {} is not {}", json.at("schema").dump(), kSchema));
  }
  const auto optional = [&](const char* key) {
    const auto& value = json.at(key);
    return value.is_null() ? std::nullopt : std::optional(value.get<bool>());
  };
  ValidationRecord record{.created = json.at("created"),
                          .name = json.at("name"),
                          .kind = json.at("kind"),
                          .ranks = json.at("ranks"),
                          .figure = json.at("figure"),
                          .predicted_s = json.at("predicted_s"),
                          .measured_s = json.at("measured_s"),
                          .inside = optional("inside"),
                          .slowest_named = optional("slowest_named"),
                          .runs = json.at("runs"),
                          .disturbed = json.at("disturbed")};
  if (!(record.measured_s > 0) || !(record.predicted_s > 0)) {
    throw UserError("predicted_s and measured_s must be positive");
  }
  return record;
}

}  // namespace

std::string timestamp() {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::time(nullptr)));
}

void append_history(const std::filesystem::path& file,
                    const std::vector<ValidationRecord>& records) {
  std::error_code ignored;  // the stream below says what is wrong
  if (file.has_parent_path()) {
    std::filesystem::create_directories(file.parent_path(), ignored);
  }
  std::string lines;
  for (const ValidationRecord& record : records) {
    lines += to_line(record).dump() + "\n";
  }
  std::ofstream stream(file, std::ios::app | std::ios::binary);
  stream.write(lines.data(), static_cast<std::streamsize>(lines.size()));
  stream.flush();
  if (!stream) {
    throw DeviceError(fmt::format("{}: cannot append the validation", file.string()));
  }
}

std::vector<ValidationRecord> read_history(const std::filesystem::path& file) {
  std::ifstream stream(file, std::ios::binary);
  if (!stream) {
    throw UserError(fmt::format("{}: cannot be read; `vitsim validate` writes it", file.string()));
  }
  std::vector<ValidationRecord> records;
  Problems problems;
  std::string line;
  for (int number = 1; std::getline(stream, line); ++number) {
    if (line.empty()) {
      continue;
    }
    const bool cut = stream.eof();
    try {
      records.push_back(from_line(nlohmann::json::parse(line)));
    } catch (const UserError& error) {
      problems.add(fmt::format("{}:{}: {}", file.string(), number, error.what()));
    } catch (const nlohmann::json::exception& error) {
      if (!cut) {
        problems.add(fmt::format("{}:{}: {}", file.string(), number, error.what()));
      }
    }
  }
  problems.throw_if_any();
  return records;
}

std::string history_text(const std::vector<ValidationRecord>& records) {
  std::string text = fmt::format("{:<18}{:>6}{:>14}{:>10}{:>12}{:>15}{:>12}\n",
                                 "validated",
                                 "count",
                                 "mean |error|",
                                 "worst",
                                 "inside",
                                 "slowest named",
                                 "disturbed");
  constexpr std::size_t kToTheMinute = 16;
  for (std::size_t begin = 0; begin < records.size();) {
    const std::string minute = records[begin].created.substr(0, kToTheMinute);
    std::size_t end = begin;
    double sum = 0;
    double worst = 0;
    int inside = 0;
    int with_interval = 0;
    int named = 0;
    int with_slowest = 0;
    std::int64_t disturbed = 0;
    std::int64_t runs = 0;
    for (; end < records.size() && records[end].created.substr(0, kToTheMinute) == minute; ++end) {
      const ValidationRecord& record = records[end];
      sum += std::abs(record.error());
      worst = std::abs(record.error()) > std::abs(worst) ? record.error() : worst;
      with_interval += record.inside ? 1 : 0;
      inside += record.inside.value_or(false) ? 1 : 0;
      with_slowest += record.slowest_named ? 1 : 0;
      named += record.slowest_named.value_or(false) ? 1 : 0;
      disturbed += record.disturbed;
      runs += record.runs;
    }
    const auto share = [](int part, int whole) {
      return whole == 0 ? std::string("-") : fmt::format("{} of {}", part, whole);
    };
    text += fmt::format("{:<18}{:>6}{:>12.2f} %{:>+8.2f} %{:>12}{:>15}{:>12}\n",
                        minute,
                        end - begin,
                        100 * sum / static_cast<double>(end - begin),
                        100 * worst,
                        share(inside, with_interval),
                        share(named, with_slowest),
                        fmt::format("{} of {}", disturbed, runs));
    begin = end;
  }
  return text;
}

}  // namespace vitsim
