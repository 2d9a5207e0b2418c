#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "calibrate/measurement/load_meter.h"
#include "calibrate/measurement/measurement.h"
#include "trainer/communication.h"
#include "trainer/device.h"
#include "trainer/measure/budget.h"
#include "trainer/phase_board.h"

namespace vitsim {

/// What every part of a measurement needs: who measures on what, how long still, and where results
/// go. All ranks go through the same parts together; what depends on time is decided by rank 0's
/// clock.
class Bench {
 public:
  Bench(const MpiSession& session,
        Communication& communication,
        Device& device,
        PhaseBoard& board,
        Seconds budget,
        std::vector<std::string> names,
        std::filesystem::path out);

  [[nodiscard]] const MpiSession& session() const { return session_; }

  [[nodiscard]] Communication& communication() { return communication_; }

  [[nodiscard]] Device& device() { return device_; }

  [[nodiscard]] PhaseBoard& board() { return board_; }

  [[nodiscard]] const Budget& budget() const { return budget_; }

  /// As profiles call this rank's device.
  [[nodiscard]] const std::string& name() const;

  [[nodiscard]] const std::vector<std::string>& names() const { return names_; }

  /// True when all ranks run on one machine.
  [[nodiscard]] bool one_node() const { return session_.local_size() == session_.size(); }

  /// Rank 0's word, on every rank.
  [[nodiscard]] bool agree(bool word);
  /// The largest of all ranks' values, on every rank.
  [[nodiscard]] double largest(double value);

  /// Does `work`; false, on every rank, where any rank's memory was too small for it. Collective.
  [[nodiscard]] bool fits(const std::function<void()>& work);

  /// Around everything that is timed: others on this machine are looked for in between.
  void begin_timing() { load_.restart(); }

  /// Marks samples added since `begin_timing` as disturbed where others used the CPUs of any rank's
  /// machine. Returns whether they did. Collective.
  bool end_timing(std::size_t first_sample);

  /// This rank's results.
  Measurement measured;

  /// Tells rank 0's user what is being done.
  void progress(const std::string& what) const;

  /// What could not be measured, and why; told once at the end. Rank 0 alone speaks.
  void could_not(const std::string& what);

  /// Collects all ranks' results at rank 0 and writes the file: what was measured so far is kept
  /// whatever comes. Collective.
  void keep();

 private:
  const MpiSession& session_;
  Communication& communication_;
  Device& device_;
  PhaseBoard& board_;
  Budget budget_;
  std::vector<std::string> names_;
  LoadMeter load_;
  std::filesystem::path out_;
};

/// Processes of this job on this machine, known by the kernel's boot id: ranks in containers of one
/// machine share its CPUs under different host names.
std::vector<std::int64_t> processes_of_this_machine(Communication& communication);

}  // namespace vitsim
