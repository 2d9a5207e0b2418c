#include "trainer/failure.h"

#include <new>
#include <string>
#include <string_view>
#include <system_error>

#include <c10/util/Exception.h>
#include <fmt/format.h>
#include <sys/mman.h>

#include "models/error.h"
#include "trainer/communication.h"

namespace vitsim {

namespace {

constexpr std::string_view kCpuAllocator = "DefaultCPUAllocator: ";

// What a LibTorch exception says, without the place in its sources and the stack.
std::string text_of(const c10::Error& error) {
  const std::string text = error.what_without_backtrace();
  const std::string line = text.substr(0, text.find('\n'));
  const std::size_t allocator = line.find(kCpuAllocator);
  return allocator == std::string::npos
             ? line
             : "out of memory: " + line.substr(allocator + kCpuAllocator.size());
}

// Libraries below LibTorch do not say why they could not make something.
bool memory_is_out() {
  constexpr std::size_t kLittle = 16 << 20;
  void* room = mmap(nullptr, kLittle, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (room == MAP_FAILED) {
    return true;
  }
  munmap(room, kLittle);
  return false;
}

}  // namespace

void end_job_for_current_exception(Watchdog& watchdog) {
  try {
    throw;
  } catch (const OtherRankFailed& other) {
    watchdog.await_end(other.exit_code);
  } catch (const UserError& error) {
    watchdog.fail(error.what(), 2);
  } catch (const c10::OutOfMemoryError& error) {
    watchdog.fail("out of memory: " + text_of(error), 3);
  } catch (const c10::Error& error) {
    watchdog.fail(text_of(error), 3);
  } catch (const std::bad_alloc&) {
    watchdog.fail("out of memory", 3);
  } catch (const std::system_error& error) {
    const bool exhausted = error.code() == std::errc::resource_unavailable_try_again ||
                           error.code() == std::errc::not_enough_memory;
    watchdog.fail(exhausted ? fmt::format("out of memory or threads: {}", error.what())
                            : std::string(error.what()),
                  3);
  } catch (const InternalError& error) {
    watchdog.fail(fmt::format("internal error: {}; please report it", error.what()), 70);
  } catch (const std::exception& error) {
    watchdog.fail(memory_is_out() ? fmt::format("out of memory: {}", error.what()) : error.what(),
                  3);
  }
}

void end_job_unless_agreed(Watchdog& watchdog) {
  try {
    throw;
  } catch (const UserError&) {
    throw;
  } catch (const OtherRankFailed& other) {
    if (other.exit_code == 2) {
      throw;
    }
    end_job_for_current_exception(watchdog);
  } catch (...) {
    end_job_for_current_exception(watchdog);
  }
}

bool memory_ran_out() {
  try {
    throw;
  } catch (const c10::OutOfMemoryError&) {
    return true;
  } catch (const c10::Error& error) {
    // The allocator of CPUs throws no exception of its own.
    const std::string_view text = error.what_without_backtrace();
    return text.find(kCpuAllocator) != std::string_view::npos;
  } catch (const std::bad_alloc&) {
    return true;
  } catch (...) {
    return false;
  }
}

}  // namespace vitsim
