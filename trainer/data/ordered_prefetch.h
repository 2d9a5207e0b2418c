#pragma once

#include <algorithm>
#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <mutex>
#include <optional>
#include <stop_token>
#include <thread>
#include <utility>
#include <vector>

#include "models/error.h"

namespace vitsim {

/// Makes items 0, 1, ..., count - 1 on background threads, at most `ahead` of them made or in the
/// making and not yet taken, and hands them out in order. What making an item throws, taking it
/// throws. Destruction asks makers to stop and waits for them.
template <typename Item>
class OrderedPrefetch {
 public:
  /// Makes item `number`; called from several threads at once. May return anything once a stop is
  /// requested.
  using Make = std::function<Item(std::int64_t number, const std::stop_token&)>;

  OrderedPrefetch(std::int64_t count, std::int64_t workers, std::int64_t ahead, Make make)
      : count_(count), make_(std::move(make)), slots_(static_cast<std::size_t>(ahead)) {
    VITSIM_CHECK(workers, >=, 1);
    VITSIM_CHECK(ahead, >=, 1);
    for (std::int64_t i = 0; i < std::min({workers, ahead, count}); ++i) {
      threads_.emplace_back([this](const std::stop_token& stop) { work(stop); });
    }
  }

  OrderedPrefetch(const OrderedPrefetch&) = delete;
  OrderedPrefetch& operator=(const OrderedPrefetch&) = delete;

  ~OrderedPrefetch() {
    for (std::jthread& thread : threads_) {
      thread.request_stop();
    }
  }

  /// The next item; waits until it is made.
  Item take() {
    std::unique_lock lock(mutex_);
    VITSIM_CHECK(taken_, <, count_);
    Slot& slot = slot_of(taken_);
    made_.wait(lock, [&] { return slot.item.has_value() || slot.failure != nullptr; });
    if (slot.failure) {
      std::rethrow_exception(slot.failure);  // the slot stays as it is: asking again throws again
    }
    Item item = std::move(*slot.item);
    slot.item.reset();
    ++taken_;
    room_.notify_one();
    return item;
  }

  /// True where `take` would not wait.
  [[nodiscard]] bool is_ready() const {
    const std::lock_guard lock(mutex_);
    const Slot& slot = slots_[static_cast<std::size_t>(taken_) % slots_.size()];
    return taken_ < count_ && (slot.item.has_value() || slot.failure != nullptr);
  }

  [[nodiscard]] std::int64_t left() const {
    const std::lock_guard lock(mutex_);
    return count_ - taken_;
  }

 private:
  struct Slot {
    std::optional<Item> item;
    std::exception_ptr failure;
  };

  Slot& slot_of(std::int64_t number) {
    return slots_[static_cast<std::size_t>(number) % slots_.size()];
  }

  void work(const std::stop_token& stop) {
    std::unique_lock lock(mutex_);
    const auto has_room = [&] {
      return next_ == count_ || next_ < taken_ + static_cast<std::int64_t>(slots_.size());
    };
    while (room_.wait(lock, stop, has_room) && next_ < count_ && !stop.stop_requested()) {
      const std::int64_t number = next_++;
      lock.unlock();
      Slot result;
      try {
        result.item.emplace(make_(number, stop));
      } catch (...) {
        result.failure = std::current_exception();
      }
      lock.lock();
      slot_of(number) = std::move(result);
      made_.notify_all();
    }
    room_.notify_all();  // the others find that nothing is left to make
  }

  const std::int64_t count_;
  const Make make_;
  mutable std::mutex mutex_;
  std::condition_variable made_;
  std::condition_variable_any room_;
  std::vector<Slot> slots_;  // item n in slot n % ahead
  std::int64_t next_ = 0;    // the first item that nobody makes yet
  std::int64_t taken_ = 0;
  std::vector<std::jthread> threads_;  // last: joined before the rest goes
};

}  // namespace vitsim
