#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/phase.h"

namespace vitsim {

/// Where an operation runs on a rank. `copy` moves data between host and device; `replicas` is a
/// second stream of communication, between the replicas of shards.
enum class Stream { kCompute, kCommunication, kLoader, kCopy, kReplicas };

/// One stretch of time of one rank; `begin_ns` and `end_ns` count from the start of the run.
struct Span {
  std::int64_t rank = 0;
  Stream stream = Stream::kCompute;
  std::int64_t step = 0;
  Phase phase = Phase::kForward;
  std::int64_t begin_ns = 0;
  std::int64_t end_ns = 0;
  std::int64_t bytes = 0;            // communicated, else 0
  bool warm_up = false;              // one of a real run's first steps, slower than the others
  bool straggler_wait = false;       // the rank waits for others to join a collective
  std::int64_t job = 0;              // of several on one cluster
  std::optional<std::int64_t> call;  // of communication: its number in the step
};

/// A named set of spans, e.g. "predicted" and "measured".
struct Timeline {
  std::string name;
  std::vector<Span> spans;
  std::vector<std::string> rank_names;  // by rank, e.g. "old: tesla-p4"; may be empty
  std::vector<std::int64_t> ring;       // ranks in the order in which they send; may be empty
};

inline constexpr std::array<std::string_view, 5> kStreamNames = {
    "compute", "communication", "loader", "copy", "replicas"};

constexpr bool is_communication(Stream stream) {
  return stream == Stream::kCommunication || stream == Stream::kReplicas;
}

constexpr std::string_view name(Stream stream) {
  return kStreamNames[static_cast<std::size_t>(stream)];
}

/// Writes Perfetto's JSON (Chrome trace events): one process per timeline and rank, one track per
/// stream. Written to a temporary name and renamed.
void write_perfetto(const std::filesystem::path& file, const std::vector<Timeline>& timelines);

/// Writes and reads `timeline.jsonl`: one span a line. Reading throws UserError with the lines that
/// are cut or wrong.
void write_timeline_lines(const std::filesystem::path& file, const Timeline& timeline);
Timeline read_timeline_lines(const std::filesystem::path& file);
Timeline timeline_from_text(std::string_view text, const std::string& origin);

}  // namespace vitsim
