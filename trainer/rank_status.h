#pragma once

#include <cstdint>
#include <string>
#include <type_traits>
#include <vector>

namespace vitsim {

/// What a rank tells about itself several times a second.
struct RankStatus {
  enum class State : std::int64_t {
    kRunning,
    kLeaving,  // done: its silence means nothing any more
    kFailing,  // its last status: why follows as text
  };
  std::int64_t rank = 0;
  std::int64_t step = 0;
  std::int64_t phase = 0;      // models/phase.h
  std::int64_t entered = 0;    // phases begun so far
  std::int64_t begun = 0;      // collectives begun so far
  std::int64_t exit_code = 0;  // the job's, where this rank fails
  State state = State::kRunning;
};

static_assert(std::is_trivially_copyable_v<RankStatus>);

/// Where rank 0 listens.
struct MeetingPoint {
  std::vector<std::string> addresses;  // IPv4
  std::uint16_t port = 0;
  std::uint64_t token = 0;  // proves that a caller belongs to this job
};

/// A TCP connection that carries statuses both ways. An empty one is closed.
class StatusLink {
 public:
  StatusLink() = default;

  explicit StatusLink(int descriptor) : descriptor_(descriptor) {}

  StatusLink(const StatusLink&) = delete;
  StatusLink& operator=(const StatusLink&) = delete;
  StatusLink(StatusLink&& other) noexcept;
  StatusLink& operator=(StatusLink&& other) noexcept;
  ~StatusLink();

  /// Calls rank 0. Empty if none of its addresses answers within a second each.
  static StatusLink call(const MeetingPoint& point);

  void send(const RankStatus& status);

  /// Sends a failing rank's status and why it fails, and nothing after that.
  void send_last(const RankStatus& status, const std::string& why);

  /// The newest status that has arrived, if any. `closed` becomes true once the other side is gone.
  bool receive(RankStatus& newest, bool& closed);

  /// Why the other side fails; whole once it has closed.
  [[nodiscard]] std::string why() const { return {received_.begin(), received_.end()}; }

  [[nodiscard]] int descriptor() const { return descriptor_; }

  [[nodiscard]] bool open() const { return descriptor_ >= 0; }

  void close();

 private:
  int descriptor_ = -1;
  std::vector<char> received_;  // and not yet understood
  bool said_last_ = false;
  bool heard_last_ = false;
};

/// Rank 0's side: accepts callers that know the token.
class StatusListener {
 public:
  StatusListener();
  StatusListener(const StatusListener&) = delete;
  StatusListener& operator=(const StatusListener&) = delete;
  ~StatusListener();

  [[nodiscard]] const MeetingPoint& point() const { return point_; }

  [[nodiscard]] int descriptor() const { return descriptor_; }

  /// A caller, if one is there and knows the token; else an empty link.
  StatusLink accept();

 private:
  int descriptor_ = -1;
  MeetingPoint point_;
};

}  // namespace vitsim
