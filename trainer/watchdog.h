#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "trainer/mpi/session.h"
#include "trainer/mpi/worker.h"
#include "trainer/phase_board.h"
#include "trainer/rank_status.h"

namespace vitsim {

/// Ends the whole job with one message when a rank dies, hangs or fails.
///
/// Every rank has a thread that tells rank 0 several times a second, over a TCP connection of its
/// own, in which step and phase the rank is. A rank that dies closes its connection, so rank 0
/// knows at once; one that is stopped falls silent; one that hangs stays in its phase until all
/// others wait for it. Rank 0 itself is watched by rank 1.
class Watchdog {
 public:
  /// Collective: every rank makes one, before the MpiWorker exists. `hang_after`: how long no rank
  /// may go on, whatever it does; none: 20 s or ten times the longest stretch seen so far, 5 min at
  /// the start and while files are written.
  Watchdog(const MpiSession& session, std::optional<std::chrono::seconds> hang_after);
  Watchdog(const Watchdog&) = delete;
  Watchdog& operator=(const Watchdog&) = delete;
  ~Watchdog();

  /// Where this rank writes what it does.
  [[nodiscard]] PhaseBoard& board() { return board_; }

  /// Counts the collectives that this rank has begun; `worker` must live until `leave`.
  void watch_collectives(const MpiWorker& worker) { worker_.store(&worker); }

  /// This rank is done: nobody misses it from now on.
  void leave();

  /// This rank failed: rank 0 tells the user and ends the job with `exit_code`. Of several ranks
  /// that fail at once the lowest is named; one that died comes before all that failed.
  [[noreturn]] void fail(const std::string& what, int exit_code);

  /// Another rank failed and says why: waits until the job ends.
  [[noreturn]] void await_end(int exit_code);

 private:
  using Clock = std::chrono::steady_clock;

  struct Failure {
    std::string why;
    int exit_code = 3;
  };

  // What is known of another rank.
  struct Peer {
    StatusLink link;
    RankStatus status;
    std::string host;
    Clock::time_point heard;     // last status of any kind
    Clock::time_point advanced;  // last status that showed progress
    bool failing = false;        // it said why, and has closed
  };

  void exchange_hosts();
  void loop();
  void exchange_statuses();
  void look_for_silence();
  void look_for_hang();
  void look_for_failures();
  [[nodiscard]] RankStatus own_status() const;
  [[nodiscard]] std::string place(std::int64_t rank, const RankStatus& status) const;
  [[noreturn]] void end_job(const std::string& message, int exit_code);

  const MpiSession& session_;
  std::optional<std::chrono::seconds> hang_after_;
  std::vector<std::string> hosts_;
  std::unique_ptr<StatusListener> listener_;  // rank 0
  std::vector<Peer> peers_;                   // rank 0: all others; else rank 0
  std::atomic<const MpiWorker*> worker_ = nullptr;
  PhaseBoard board_;
  std::atomic<RankStatus::State> state_ = RankStatus::State::kRunning;
  std::mutex failure_mutex_;
  std::optional<Failure> failure_;              // of this rank
  std::optional<Clock::time_point> failed_at_;  // the first failure that this rank knows of
  std::atomic<bool> stopping_ = false;
  std::atomic<bool> reported_ = false;
  Clock::time_point own_advanced_;
  std::int64_t own_entered_ = 0;
  Phase own_phase_ = Phase::kOther;  // as of the last change of own_entered_
  Clock::time_point last_progress_;
  Clock::duration longest_stretch_{};
  std::thread thread_;
};

}  // namespace vitsim
