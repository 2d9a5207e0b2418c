#pragma once

#include <functional>
#include <string>
#include <vector>

namespace vitsim {

/// This process among those that MPI started: one rank each. MPI is initialised on construction and
/// finalised on destruction. Between the two, only the thread that made the session and, once it
/// exists, the MpiWorker call MPI, never both at a time.
class MpiSession {
 public:
  MpiSession();
  MpiSession(const MpiSession&) = delete;
  MpiSession& operator=(const MpiSession&) = delete;
  ~MpiSession();

  [[nodiscard]] int rank() const { return rank_; }

  [[nodiscard]] int size() const { return size_; }

  /// Index of this rank among those of its machine, and how many they are.
  [[nodiscard]] int local_rank() const { return local_rank_; }

  [[nodiscard]] int local_size() const { return local_size_; }

  [[nodiscard]] const std::string& host() const { return host_; }

 private:
  int rank_ = 0;
  int size_ = 1;
  int local_rank_ = 0;
  int local_size_ = 1;
  std::string host_;
};

/// Runs `check` on every rank. If it throws UserError anywhere, the lowest such rank throws it on,
/// the others throw `OtherRankFailed`, and all ranks end. Only before the
/// MpiWorker exists.
void on_every_rank(const MpiSession& session, const std::function<void()>& check);

/// Once ranks have agreed to stop: gives rank 0 the `problems` of the lowest rank that has any,
/// headed by that rank's name where it is another; all others get none. Every rank calls it,
/// without the MpiWorker.
std::vector<std::string> bring_problems_to_first(const MpiSession& session,
                                                 const std::vector<std::string>& problems);

/// Gives every rank what rank 0 has. Once the MpiWorker exists, only there.
void broadcast_from_first(const MpiSession& session, void* data, int bytes);

/// Thrown where another rank tells the user what is wrong: leave silently with `exit_code`.
struct OtherRankFailed {
  int exit_code = 2;
};

/// Ends every process of the job at once with `exit_code`; from any thread.
[[noreturn]] void abort_job(int exit_code);

}  // namespace vitsim
