// The figures of nccl-tests as JSON. Nobody promises its layout: nccl-tests' `-J` writes one object
// with the configuration, the devices and a list of results that hold an object for either place;
// rccl-tests' `-Z json` writes one flat object for each row; `vitsim collective --json` has units
// in its keys. So rows are found wherever they stand: an object with a size and a time, whose keys
// are compared by their letters alone ("algBw", "alg_bw").
#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>
#include <optional>
#include <sstream>
#include <string>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "calibrate/import/collective_runs.h"
#include "calibrate/import/csv_table.h"
#include "calibrate/import/nccl_tests.h"
#include "models/error.h"

namespace vitsim {

namespace {

using Json = nlohmann::json;

constexpr std::size_t kMostBytes = std::size_t{64} << 20;
constexpr int kDeepest = 16;

std::string letters(std::string_view key) {
  std::string word;
  for (const char c : key) {
    if (std::isalnum(static_cast<unsigned char>(c)) != 0) {
      word.push_back(static_cast<char>(std::tolower(static_cast<unsigned char>(c))));
    }
  }
  return word;
}

/// The member of an object whose key has these letters.
const Json* member(const Json& object, std::string_view key) {
  for (const auto& [name, value] : object.items()) {
    if (letters(name) == key) {
      return &value;
    }
  }
  return nullptr;
}

const Json* member_of(const Json& object, std::initializer_list<std::string_view> keys) {
  for (const std::string_view key : keys) {
    if (const Json* found = member(object, key)) {
      return found;
    }
  }
  return nullptr;
}

/// Numbers may be written as text.
std::optional<double> number(const Json* value) {
  if (value == nullptr) {
    return std::nullopt;
  }
  if (value->is_number()) {
    return value->get<double>();
  }
  return value->is_string() ? parse_number(value->get<std::string>()) : std::nullopt;
}

std::optional<std::int64_t> whole(const Json* value) {
  const auto found = number(value);
  constexpr double kMost = 1e15;
  if (!found || !(std::abs(*found) <= kMost) || *found != std::floor(*found)) {
    return std::nullopt;
  }
  return static_cast<std::int64_t>(*found);
}

std::string text(const Json* value) {
  return value != nullptr && value->is_string() ? value->get<std::string>() : "";
}

/// What the objects around a row say.
struct Context {
  std::optional<MeasuredCollective> collective;
  std::optional<std::int64_t> ranks;
  ImportedRow row;
};

class Finder {
 public:
  explicit Finder(const std::string& origin) : origin_(origin) {}

  std::vector<CollectiveRun> runs;
  bool predicted = false;
  std::vector<std::string> warnings;

  /// Collects the rows of one JSON value; those of one collective and rank count are one run.
  void collect(const Json& value, std::int64_t line) {
    devices_.clear();
    find_devices(value, 0);
    find_rows(value, {.row = {.line = line}}, 0);
  }

 private:
  void find_devices(const Json& value, int depth) {
    if (depth > kDeepest || !value.is_structured()) {
      return;
    }
    if (value.is_array() && !value.empty() && std::ranges::all_of(value, [](const Json& entry) {
          return entry.is_object() && member(entry, "rank") != nullptr &&
                 member_of(entry, {"device", "devicename", "name", "gpu"}) != nullptr;
        })) {
      for (const Json& entry : value) {
        std::string device = text(member_of(entry, {"devicename", "name", "gpu", "gpuname"}));
        if (device.empty()) {
          device = text(member(entry, "device"));
        }
        devices_.push_back({.rank = whole(member(entry, "rank")).value_or(0),
                            .host = text(member_of(entry, {"host", "hostname"})),
                            .device = device});
      }
      return;
    }
    for (const Json& entry : value) {
      find_devices(entry, depth + 1);
    }
  }

  void read_context(const Json& object, Context& context) {
    for (const char* key : {"collective", "test", "testname", "program", "executable", "name"}) {
      if (const auto kind = collective_from_name(text(member(object, key)))) {
        context.collective = kind;
      }
    }
    if (const Json* arguments = member_of(object, {"args", "argv"});
        arguments != nullptr && arguments->is_array() && !arguments->empty()) {
      if (const auto kind = collective_from_name(text(&arguments->front()))) {
        context.collective = kind;
      }
    }
    if (const auto ranks =
            whole(member_of(object, {"ranks", "nranks", "totalranks", "worldsize", "gpus"}))) {
      context.ranks = ranks;
    }
    ImportedRow& row = context.row;
    if (const auto bytes = whole(member_of(object, {"size", "bytes"}))) {
      row.bytes = *bytes;
    }
    if (const auto elements = whole(member(object, "count"))) {
      row.elements = elements;
    }
    if (const Json* type = member_of(object, {"type", "datatype"})) {
      row.type = text(type);
    }
    if (const Json* operation = member_of(object, {"redop", "op"})) {
      row.operation = text(operation);
    }
    if (const auto root = whole(member(object, "root"))) {
      row.root = root;
    }
    if (const Json* place = member(object, "inplace"); place != nullptr && !place->is_object()) {
      row.in_place = place->is_boolean() ? place->get<bool>() : whole(place).value_or(0) == 1;
    }
  }

  void take_row(const Json& object, Context context) {
    ImportedRow& row = context.row;
    const auto seconds = number(member(object, "times"));  // "time_s"
    const auto microseconds = number(member_of(object, {"time", "timeus"}));
    if (row.bytes <= 0 || (!seconds && !microseconds)) {
      return;
    }
    row.seconds = seconds ? *seconds : *microseconds / 1e6;
    if (!(row.seconds > 0 && row.seconds < 1e9)) {
      warnings.push_back(fmt::format("{}: a row of {} bytes has no time", origin_, row.bytes));
      return;
    }
    predicted = predicted || seconds.has_value();
    row.algorithm_gb_per_s =
        std::max(0.0, number(member_of(object, {"algbw", "algbandwidth"})).value_or(0));
    row.bus_gb_per_s =
        std::max(0.0, number(member_of(object, {"busbw", "busbandwidth"})).value_or(0));
    row.wrong = number(member_of(object, {"wrong", "nwrong", "errors"})).value_or(0) > 0;
    const auto same = std::ranges::find_if(runs, [&](const CollectiveRun& run) {
      return run.collective == context.collective && run.stated_ranks == context.ranks;
    });
    if (same != runs.end()) {
      same->rows.push_back(row);
      return;
    }
    runs.push_back({.collective = context.collective,
                    .stated_ranks = context.ranks,
                    .ranks = devices_,
                    .rows = {row}});
  }

  void find_rows(const Json& value, const Context& outside, int depth) {
    if (depth > kDeepest || !value.is_structured()) {
      return;
    }
    if (value.is_array()) {
      for (const Json& entry : value) {
        find_rows(entry, outside, depth + 1);
      }
      return;
    }
    Context context = outside;
    read_context(value, context);
    take_row(value, context);
    for (const auto& [key, entry] : value.items()) {
      Context inside = context;
      if (letters(key) == "inplace") {
        inside.row.in_place = true;
      } else if (letters(key) == "outofplace") {
        inside.row.in_place = false;
      }
      find_rows(entry, inside, depth + 1);
    }
  }

  const std::string& origin_;
  std::vector<CollectiveRank> devices_;
};

std::string read_all(std::istream& stream, const std::string& origin) {
  std::string all;
  std::array<char, 1 << 16> part{};
  for (std::streamsize got = 1; got > 0 && all.size() <= kMostBytes;) {
    got = stream.rdbuf()->sgetn(part.data(), part.size());
    all.append(part.data(), static_cast<std::size_t>(std::max<std::streamsize>(got, 0)));
  }
  if (all.size() > kMostBytes) {
    throw UserError(fmt::format("{}: more than 64 MiB of JSON are no table of nccl-tests", origin));
  }
  return all;
}

Piece finish(Finder finder,
             const std::string& origin,
             const std::string& name,
             std::optional<std::int64_t> ranks) {
  Piece piece = collective_piece(
      std::move(finder.runs), origin, name, finder.predicted ? "vitsim" : "nccl", ranks);
  if (finder.predicted) {
    piece.warnings.push_back(fmt::format("{}: times that vitsim predicted, not measured", origin));
  }
  std::ranges::move(finder.warnings, std::back_inserter(piece.warnings));
  return piece;
}

}  // namespace

Piece read_nccl_json(std::istream& stream,
                     const std::string& origin,
                     const std::string& name,
                     std::optional<std::int64_t> ranks) {
  std::istringstream values(read_all(stream, origin));
  Finder finder(origin);
  std::int64_t number = 0;
  while ((values >> std::ws).good()) {
    Json value;
    try {
      values >> value;
    } catch (const Json::exception& error) {
      if (finder.runs.empty()) {
        throw UserError(fmt::format("{}: cut or damaged: {}", origin, error.what()));
      }
      finder.warnings.push_back(
          fmt::format("{}: cut or damaged, its beginning is taken: {}", origin, error.what()));
      break;
    }
    finder.collect(value, ++number);
  }
  return finish(std::move(finder), origin, name, ranks);
}

Piece read_nccl_csv(std::istream& stream,
                    const std::string& origin,
                    const std::string& name,
                    std::optional<std::int64_t> ranks) {
  LineReader reader(stream);
  std::string line;
  Finder finder(origin);
  std::vector<std::string> header;
  while (reader.next(line)) {
    const auto fields = split_csv(line);
    if (!fields || trimmed(line).empty()) {
      continue;
    }
    if (header.empty()) {
      header = *fields;
      continue;
    }
    if (fields->size() != header.size() || !reader.ended()) {
      finder.warnings.push_back(
          fmt::format("{}:{}: not a row of figures, left out", origin, reader.number()));
      continue;
    }
    Json row = Json::object();
    for (std::size_t i = 0; i < header.size(); ++i) {
      row[header[i]] = (*fields)[i];
    }
    finder.collect(row, reader.number());
  }
  return finish(std::move(finder), origin, name, ranks);
}

}  // namespace vitsim
