#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <mutex>
#include <thread>

namespace vitsim {

/// The one thread of a rank that calls MPI after start-up. Jobs run in the order of their
/// submission, like kernels on a stream.
class MpiWorker {
 public:
  /// `done` runs on the worker after `job`, with what it threw, if anything.
  using Done = std::function<void(std::exception_ptr)>;

  MpiWorker();
  MpiWorker(const MpiWorker&) = delete;
  MpiWorker& operator=(const MpiWorker&) = delete;
  /// Finishes what was submitted, then ends the thread.
  ~MpiWorker();

  void submit(std::function<void()> job, Done done);

  /// Runs `job` after everything submitted before; returns when it is done, rethrows its error.
  void run(const std::function<void()>& job);

  /// Jobs begun so far, readable from any thread: of ranks that wait for each other, the one that
  /// began fewest is the one that all wait for.
  [[nodiscard]] std::int64_t begun() const { return begun_.load(std::memory_order_relaxed); }

 private:
  void loop();

  struct Entry {
    std::function<void()> job;
    Done done;
  };

  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Entry> queue_;
  bool closing_ = false;
  std::atomic<std::int64_t> begun_ = 0;
  std::thread thread_;
};

}  // namespace vitsim
