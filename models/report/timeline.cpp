#include "models/report/timeline.h"

#include <algorithm>
#include <fstream>
#include <limits>
#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "models/document/atomic_file.h"
#include "models/document/document_reader.h"
#include "models/error.h"

namespace vitsim {

namespace {

// Perfetto wants microseconds; three decimals keep the nanosecond.
std::string microseconds_text(std::int64_t ns) {
  const bool negative = ns < 0;
  const std::int64_t magnitude = negative ? -ns : ns;
  return fmt::format("{}{}.{:03}", negative ? "-" : "", magnitude / 1000, magnitude % 1000);
}

std::string in_json(const std::string& text) {
  return nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
}

// Chrome's trace format has one namespace of process ids: timelines get blocks of them.
class ProcessIds {
 public:
  explicit ProcessIds(const std::vector<Timeline>& timelines) {
    std::int64_t next = 1;
    for (const Timeline& timeline : timelines) {
      first_.push_back(next);
      std::int64_t most = -1;
      for (const Span& span : timeline.spans) {
        most = std::max(most, span.rank);
      }
      next += most + 1;
    }
  }

  [[nodiscard]] std::int64_t of(std::size_t timeline, std::int64_t rank) const {
    return first_[timeline] + rank;
  }

 private:
  std::vector<std::int64_t> first_;
};

int thread_id(Stream stream) {
  return static_cast<int>(stream) + 1;
}

std::string process_name(const Timeline& timeline, std::int64_t rank) {
  std::string text = timeline.name.empty() ? "" : timeline.name + " ";
  text += fmt::format("rank {}", rank);
  const auto index = static_cast<std::size_t>(rank);
  return index < timeline.rank_names.size() ? text + " (" + timeline.rank_names[index] + ")" : text;
}

// Arrows from each rank's part of a collective to the next rank's of the ring, as messages go.
template <class ProcessId, class Write>
void write_flows(const Timeline& timeline, const ProcessId& process, const Write& write) {
  std::map<std::tuple<std::int64_t, std::int64_t, std::int64_t>, const Span*> calls;
  for (const Span& span : timeline.spans) {
    if (span.call) {
      calls[{span.step, *span.call, span.rank}] = &span;
    }
  }
  std::int64_t id = 0;
  const std::size_t ranks = timeline.ring.size();
  for (std::size_t i = 0; i < ranks && ranks > 1; ++i) {
    const std::int64_t from = timeline.ring[i];
    const std::int64_t to = timeline.ring[(i + 1) % ranks];
    for (const auto& [key, sent] : calls) {
      const auto& [step, call, rank] = key;
      if (rank != from) {
        continue;
      }
      const auto received = calls.find({step, call, to});
      if (received == calls.end()) {
        continue;
      }
      // Flows bind to the slice that encloses them: its beginning, and shortly before its end.
      const Span& arrives = *received->second;
      const std::int64_t end =
          std::max(arrives.begin_ns, std::max(sent->begin_ns, arrives.end_ns - 1));
      const std::int64_t number = process(from) * 1'000'000'000 + id++;
      write(fmt::format(
          R"({{"ph":"s","name":"message","cat":"collective","id":{},"pid":{},"tid":{},"ts":{}}})",
          number,
          process(from),
          thread_id(Stream::kCommunication),
          microseconds_text(sent->begin_ns)));
      write(fmt::format(
          R"({{"ph":"f","bp":"e","name":"message","cat":"collective","id":{},"pid":{},"tid":{},"ts":{}}})",
          number,
          process(to),
          thread_id(Stream::kCommunication),
          microseconds_text(end)));
    }
  }
}

Span read_span(const Field& field) {
  constexpr std::int64_t kMost = std::numeric_limits<std::int64_t>::max();
  Span span;
  ObjectReader object(field);
  const auto whole = [&](std::string_view key, std::int64_t& target) {
    if (const auto found = object.require(key)) {
      target = found->integer(0, kMost).value_or(0);
    }
  };
  whole("rank", span.rank);
  if (const auto stream = object.require("stream")) {
    span.stream = static_cast<Stream>(stream->choice(kStreamNames).value_or(0));
  }
  whole("step", span.step);
  if (const auto phase = object.require("phase")) {
    span.phase = static_cast<Phase>(phase->choice(kPhaseNames).value_or(0));
  }
  whole("begin_ns", span.begin_ns);
  whole("end_ns", span.end_ns);
  object.read("bytes", span.bytes, 0, kMost);
  if (const auto warm_up = object.find("warm_up")) {
    span.warm_up = warm_up->boolean().value_or(false);
  }
  if (const auto wait = object.find("straggler_wait")) {
    span.straggler_wait = wait->boolean().value_or(false);
  }
  object.finish();
  if (span.end_ns < span.begin_ns) {
    field.problem("ends before it begins");
  }
  return span;
}

Timeline read_lines(std::istream& input, const std::string& origin) {
  Timeline timeline;
  Problems problems;
  DocumentOptions options{.bytes = 65'536, .values = 64, .depth = 4, .first_line = 0};
  for (std::string line; std::getline(input, line) && !problems.full();) {
    ++options.first_line;
    if (line.empty()) {
      continue;
    }
    try {
      Problems in_line;
      const Document document = Document::parse(line, origin, in_line, options);
      timeline.spans.push_back(read_span(Field(document, in_line)));
      in_line.throw_if_any();
    } catch (const UserError& error) {
      for (const std::string& problem : error.problems()) {
        problems.add(problem);
      }
    }
  }
  problems.throw_if_any();
  return timeline;
}

}  // namespace

void write_perfetto(const std::filesystem::path& file, const std::vector<Timeline>& timelines) {
  const ProcessIds ids(timelines);
  AtomicFile output(file);
  output.write("{\"displayTimeUnit\":\"ms\",\"traceEvents\":[");
  const char* separator = "\n";
  const auto event = [&](std::string_view text) {
    output.write(separator);
    output.write(text);
    separator = ",\n";
  };
  for (std::size_t i = 0; i < timelines.size(); ++i) {
    std::set<std::pair<std::int64_t, Stream>> tracks;
    for (const Span& span : timelines[i].spans) {
      tracks.emplace(span.rank, span.stream);
    }
    std::int64_t named = -1;
    for (const auto& [rank, stream] : tracks) {
      const std::int64_t pid = ids.of(i, rank);
      if (rank != named) {
        named = rank;
        event(fmt::format(R"({{"ph":"M","name":"process_name","pid":{},"args":{{"name":{}}}}})",
                          pid,
                          in_json(process_name(timelines[i], rank))));
        event(fmt::format(
            R"({{"ph":"M","name":"process_sort_index","pid":{0},"args":{{"sort_index":{0}}}}})",
            pid));
      }
      event(fmt::format(
          R"({{"ph":"M","name":"thread_name","pid":{},"tid":{},"args":{{"name":"{}"}}}})",
          pid,
          thread_id(stream),
          name(stream)));
    }
    write_flows(
        timelines[i], [&](std::int64_t rank) { return ids.of(i, rank); }, event);
    for (const Span& span : timelines[i].spans) {
      const std::string bytes = span.bytes == 0 ? "" : fmt::format(R"(,"bytes":{})", span.bytes);
      event(fmt::format(
          R"({{"ph":"X","name":"{7}","cat":"{0}","pid":{1},"tid":{2},"ts":{3},"dur":{4},"args":{{"step":{5}{6}}}}})",
          name(span.phase),
          ids.of(i, span.rank),
          thread_id(span.stream),
          microseconds_text(span.begin_ns),
          microseconds_text(span.end_ns - span.begin_ns),
          span.step,
          bytes,
          span.straggler_wait ? "straggler wait" : name(span.phase)));
    }
  }
  output.write("\n]}\n");
  output.commit();
}

void write_timeline_lines(const std::filesystem::path& file, const Timeline& timeline) {
  AtomicFile output(file);
  for (const Span& span : timeline.spans) {
    output.write(fmt::format(
        R"({{"rank":{},"stream":"{}","step":{},"phase":"{}","begin_ns":{},"end_ns":{},"bytes":{}{}{}}})"
        "\n",
        span.rank,
        name(span.stream),
        span.step,
        name(span.phase),
        span.begin_ns,
        span.end_ns,
        span.bytes,
        span.warm_up ? R"(,"warm_up":true)" : "",
        span.straggler_wait ? R"(,"straggler_wait":true)" : ""));
  }
  output.commit();
}

Timeline read_timeline_lines(const std::filesystem::path& file) {
  std::ifstream input(file);
  if (!input) {
    throw UserError(fmt::format("{}: cannot be read", file.string()));
  }
  return read_lines(input, file.string());
}

Timeline timeline_from_text(std::string_view text, const std::string& origin) {
  std::istringstream input{std::string(text)};
  return read_lines(input, origin);
}

}  // namespace vitsim
