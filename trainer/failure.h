#pragma once

#include "trainer/watchdog.h"

namespace vitsim {

/// In a catch block, on a rank that fails by itself: ends the job for the exception being handled,
/// with exit code 2 for the user's mistakes, 70 for our own, 3 for all else.
[[noreturn]] void end_job_for_current_exception(Watchdog& watchdog);

/// The same during start-up, where ranks agree on the user's mistakes (`on_every_rank`): those are
/// thrown on.
[[noreturn]] void end_job_unless_agreed(Watchdog& watchdog);

/// In a catch block: whether the exception being handled says that the device's memory, or this
/// machine's, is too small.
bool memory_ran_out();

}  // namespace vitsim
