// How failures look from outside, and what is done about each:
//
// - A rank dies (a signal, the kernel's out-of-memory killer): the kernel closes its sockets before
//   its parent learns of it, so rank 0 reads end-of-file a moment before mpirun begins to end the
//   others. SIGTERM is therefore held back for a moment (see kGrace), long enough to say who it
//   was.
// - A rank is stopped (SIGSTOP, a machine that vanished): no status for kSilence.
// - A rank hangs: statuses arrive, but nobody enters a new phase. All others wait for the one that
//   began the fewest collectives, which in a synchronous training is the one to blame.
// - A rank fails by itself (an exception): its last status says why. Rank 0 waits a moment, in
// which
//   others may turn out to have failed too, or one to have died, which is then the cause; so there
//   is one message, whoever comes first.
//
// All end in MPI_Abort, so that no process stays behind; its exit code becomes mpirun's. Only rank
// 0 speaks, or rank 1 where rank 0 is gone.
#include "trainer/watchdog.h"

#include <algorithm>
#include <array>
#include <csignal>
#include <cstring>

#include <fmt/format.h>
#include <mpi.h>
#include <poll.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::chrono::milliseconds kBeat{100};
constexpr std::chrono::milliseconds kOthersFailToo{300};
constexpr std::chrono::seconds kAnswer{5};
constexpr std::chrono::seconds kSilence{10};
constexpr std::chrono::seconds kQuiet{1};
constexpr std::chrono::milliseconds kGrace{400};
constexpr std::chrono::seconds kStartUpOrFiles{300};
constexpr std::chrono::seconds kLeastHang{20};
constexpr int kStretches = 10;  // a hang is this many times the longest stretch

std::atomic<bool> terminated = false;

// How long these take says nothing about steps: a checkpoint may be a gigabyte for a slow disk. Of
// the phases that a rank enters itself, kOther is the end of a run.
bool writes_files(Phase phase) {
  return phase == Phase::kCheckpoint || phase == Phase::kOther;
}

extern "C" void on_terminate(int) {
  terminated.store(true);
}

}  // namespace

Watchdog::Watchdog(const MpiSession& session, std::optional<std::chrono::seconds> hang_after)
    : session_(session), hang_after_(hang_after) {
  exchange_hosts();
  // Where rank 0 listens: a few addresses, a port and the token, as one string.
  std::array<char, 1024> text{};
  if (session.rank() == 0) {
    listener_ = std::make_unique<StatusListener>();
    std::string line = fmt::format("{} {}", listener_->point().port, listener_->point().token);
    for (const std::string& address : listener_->point().addresses) {
      line += " " + address;
    }
    line.copy(text.data(), text.size() - 1);
  }
  MPI_Bcast(text.data(), static_cast<int>(text.size()), MPI_CHAR, 0, MPI_COMM_WORLD);
  if (session.rank() != 0) {
    MeetingPoint point;
    char* rest = nullptr;
    point.port = static_cast<std::uint16_t>(std::strtoul(text.data(), &rest, 10));
    point.token = std::strtoull(rest, &rest, 10);
    for (char* word = strtok_r(rest, " ", &rest); word != nullptr;
         word = strtok_r(nullptr, " ", &rest)) {
      point.addresses.emplace_back(word);
    }
    peers_.push_back({.link = StatusLink::call(point), .host = hosts_[0]});
    if (!peers_.front().link.open()) {
      throw DeviceError(fmt::format("rank 0 ({}) cannot be reached by TCP from rank {} ({})",
                                    hosts_[0],
                                    session.rank(),
                                    session.host()));
    }
    peers_.front().link.send(own_status());
  }
  const auto now = Clock::now();
  last_progress_ = now;
  for (Peer& peer : peers_) {
    peer.heard = peer.advanced = now;
  }
  std::signal(SIGTERM, on_terminate);
  thread_ = std::thread([this] { loop(); });
}

Watchdog::~Watchdog() {
  leave();
}

void Watchdog::leave() {
  if (!thread_.joinable()) {
    return;
  }
  state_ = RankStatus::State::kLeaving;
  stopping_ = true;
  thread_.join();
  std::signal(SIGTERM, SIG_DFL);
}

void Watchdog::exchange_hosts() {
  constexpr std::size_t kWidth = 64;
  std::vector<char> names(kWidth * static_cast<std::size_t>(session_.size()));
  std::array<char, kWidth> own{};
  session_.host().copy(own.data(), kWidth - 1);
  MPI_Allgather(own.data(), kWidth, MPI_CHAR, names.data(), kWidth, MPI_CHAR, MPI_COMM_WORLD);
  for (int rank = 0; rank < session_.size(); ++rank) {
    hosts_.emplace_back(names.data() + kWidth * static_cast<std::size_t>(rank));
  }
}

RankStatus Watchdog::own_status() const {
  const MpiWorker* worker = worker_.load();
  return {.rank = session_.rank(),
          .step = board_.step(),
          .phase = static_cast<std::int64_t>(board_.phase()),
          .entered = board_.entered(),
          .begun = worker == nullptr ? 0 : worker->begun(),
          .state = state_.load()};
}

std::string Watchdog::place(std::int64_t rank, const RankStatus& status) const {
  return fmt::format("rank {} ({}), step {}, {}",
                     rank,
                     hosts_[static_cast<std::size_t>(rank)],
                     status.step,
                     name(static_cast<Phase>(status.phase)));
}

void Watchdog::end_job(const std::string& message, int exit_code) {
  if (!reported_.exchange(true)) {
    // Peers hear that this rank ends the job before its connection closes.
    state_ = RankStatus::State::kFailing;
    for (Peer& peer : peers_) {
      if (peer.link.open()) {
        peer.link.send_last(own_status(), "");
      }
    }
    fmt::print(stderr, "vitsim: error: {}\n", message);
    std::fflush(stderr);
  }
  abort_job(exit_code);
}

void Watchdog::fail(const std::string& what, int exit_code) {
  {
    const std::lock_guard lock(failure_mutex_);
    failure_ = {.why = what, .exit_code = exit_code};
  }
  std::this_thread::sleep_for(kAnswer);
  // Rank 0 cannot be reached.
  if (!terminated) {
    fmt::print(stderr, "vitsim: error: {}: {}\n", place(session_.rank(), own_status()), what);
  }
  abort_job(exit_code);
}

void Watchdog::await_end(int exit_code) {
  std::this_thread::sleep_for(kAnswer);
  abort_job(exit_code);
}

void Watchdog::loop() {
  std::optional<Clock::time_point> terminated_at;
  while (!stopping_) {
    std::vector<pollfd> entries;
    if (listener_) {
      entries.push_back({.fd = listener_->descriptor(), .events = POLLIN, .revents = 0});
    }
    for (const Peer& peer : peers_) {
      if (peer.link.open() && !peer.failing) {
        entries.push_back({.fd = peer.link.descriptor(), .events = POLLIN, .revents = 0});
      }
    }
    poll(entries.data(), entries.size(), terminated_at ? 10 : static_cast<int>(kBeat.count()));
    if (listener_) {
      StatusLink caller = listener_->accept();
      if (caller.open()) {
        peers_.push_back(
            {.link = std::move(caller), .heard = Clock::now(), .advanced = Clock::now()});
      }
    }
    exchange_statuses();
    look_for_silence();
    look_for_hang();
    look_for_failures();
    if (terminated && !terminated_at) {
      terminated_at = Clock::now();
    }
    if (terminated_at && Clock::now() - *terminated_at > kGrace) {
      _exit(128 + SIGTERM);
    }
  }
  for (Peer& peer : peers_) {
    if (peer.link.open()) {
      peer.link.send(own_status());
    }
  }
}

void Watchdog::exchange_statuses() {
  const auto now = Clock::now();
  const RankStatus own = own_status();
  if (own.entered != own_entered_) {
    own_entered_ = own.entered;
    if (!writes_files(own_phase_)) {
      longest_stretch_ = std::max(longest_stretch_, now - last_progress_);
    }
    own_phase_ = static_cast<Phase>(own.phase);
    last_progress_ = now;
  }
  for (Peer& peer : peers_) {
    if (!peer.link.open()) {
      continue;
    }
    peer.link.send(own);
    RankStatus newest;
    bool closed = false;
    if (peer.link.receive(newest, closed)) {
      peer.heard = now;
      if (newest.entered != peer.status.entered || newest.begun != peer.status.begun) {
        last_progress_ = now;
      }
      peer.status = newest;
    }
    if (!closed) {
      continue;
    }
    if (peer.status.state == RankStatus::State::kFailing) {
      // It waits for this rank's word and would take a closed connection for this rank's death.
      peer.failing = true;
      continue;
    }
    peer.link.close();
    if (peer.status.state == RankStatus::State::kRunning && session_.rank() <= 1) {
      // Where rank 0 is gone, rank 1 tells.
      end_job(fmt::format("{}: the process died", place(peer.status.rank, peer.status)), 3);
    }
  }
}

void Watchdog::look_for_silence() {
  if (session_.rank() > 1) {
    return;
  }
  const auto now = Clock::now();
  for (const Peer& peer : peers_) {
    if (peer.link.open() && peer.status.state == RankStatus::State::kRunning &&
        now - peer.heard > kSilence) {
      end_job(fmt::format("{}: no sign of life for {} s",
                          place(peer.status.rank, peer.status),
                          kSilence.count()),
              3);
    }
  }
}

void Watchdog::look_for_hang() {
  if (session_.rank() != 0 || state_ != RankStatus::State::kRunning) {
    return;
  }
  const auto now = Clock::now();
  const auto stretch = now - last_progress_;
  // One that has fallen silent is stopped; else it is the one that all others wait for.
  RankStatus behind = own_status();
  bool silent = false;
  for (const Peer& peer : peers_) {
    const bool peer_silent = now - peer.heard > kQuiet;
    const bool earlier =
        std::pair(peer.status.begun, peer.status.entered) < std::pair(behind.begun, behind.entered);
    if (peer_silent ? !silent || earlier : !silent && earlier) {
      behind = peer.status;
      silent = peer_silent;
    }
  }
  const Clock::duration patience =
      hang_after_ ? Clock::duration(*hang_after_)
      : own_entered_ < 20 || writes_files(static_cast<Phase>(behind.phase))
          ? Clock::duration(kStartUpOrFiles)
          : std::max(Clock::duration(kLeastHang), kStretches * longest_stretch_);
  if (stretch <= patience) {
    return;
  }
  end_job(fmt::format("{}: hangs: no progress for {} s",
                      place(behind.rank, behind),
                      std::chrono::duration_cast<std::chrono::seconds>(stretch).count()),
          3);
}

void Watchdog::look_for_failures() {
  std::optional<Failure> own;
  {
    const std::lock_guard lock(failure_mutex_);
    own = failure_;
  }
  if (own && state_ != RankStatus::State::kFailing) {
    state_ = RankStatus::State::kFailing;
    if (session_.rank() != 0) {
      RankStatus last = own_status();
      last.exit_code = own->exit_code;
      peers_.front().link.send_last(last, own->why);
    }
  }
  const auto failing = std::ranges::min_element(
      peers_, {}, [](const Peer& peer) { return std::pair(!peer.failing, peer.status.rank); });
  const bool peer_fails = failing != peers_.end() && failing->failing;
  if (session_.rank() != 0 || (!own && !peer_fails)) {
    return;
  }
  if (!failed_at_) {
    failed_at_ = Clock::now();
  }
  if (Clock::now() - *failed_at_ < kOthersFailToo) {
    return;
  }
  // mpirun ends the job by itself, for a reason that it tells.
  reported_ = reported_ || terminated;
  if (own) {
    end_job(fmt::format("{}: {}", place(0, own_status()), own->why), own->exit_code);
  }
  end_job(fmt::format("{}: {}", place(failing->status.rank, failing->status), failing->link.why()),
          static_cast<int>(failing->status.exit_code));
}

}  // namespace vitsim
