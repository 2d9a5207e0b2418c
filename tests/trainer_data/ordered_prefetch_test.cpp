#include "trainer/data/ordered_prefetch.h"

#include <atomic>
#include <chrono>
#include <stdexcept>
#include <thread>

#include <gtest/gtest.h>

namespace vitsim {
namespace {

using namespace std::chrono_literals;

TEST(OrderedPrefetch, KeepsTheOrderWhateverTheWorkersDo) {
  for (const std::int64_t workers : {1, 2, 5}) {
    for (const std::int64_t ahead : {1, 3, 8}) {
      OrderedPrefetch<std::int64_t> items(
          200, workers, ahead, [](std::int64_t number, const std::stop_token&) {
            // Later items are quicker, so that unordered hand-over would show.
            std::this_thread::sleep_for(std::chrono::microseconds((7 - number % 8) * 20));
            return number * number;
          });
      for (std::int64_t i = 0; i < 200; ++i) {
        ASSERT_EQ(items.left(), 200 - i);
        ASSERT_EQ(items.take(), i * i) << workers << " workers, " << ahead << " ahead";
      }
      EXPECT_EQ(items.left(), 0);
      EXPECT_THROW(items.take(), InternalError);
    }
  }
}

TEST(OrderedPrefetch, MakesNoMoreThanAskedAheadOfTheConsumer) {
  std::atomic<std::int64_t> begun = 0;
  OrderedPrefetch<int> items(100, 4, 3, [&](std::int64_t, const std::stop_token&) {
    ++begun;
    return 0;
  });
  for (std::int64_t taken = 0; taken < 20; ++taken) {
    // Long enough for four idle workers to overshoot if nothing held them.
    std::this_thread::sleep_for(2ms);
    EXPECT_LE(begun, taken + 3);
    items.take();
  }
  EXPECT_GE(begun, 20);
}

TEST(OrderedPrefetch, WorksWhileTheConsumerDoesNot) {
  std::atomic<std::int64_t> finished = 0;
  OrderedPrefetch<int> items(10, 2, 5, [&](std::int64_t, const std::stop_token&) {
    ++finished;
    return 0;
  });
  for (int i = 0; i < 2000 && finished < 5; ++i) {
    std::this_thread::sleep_for(1ms);
  }
  EXPECT_EQ(finished, 5);
}

TEST(OrderedPrefetch, CarriesAnExceptionToThePlaceOfItsItem) {
  OrderedPrefetch<std::int64_t> items(10, 3, 4, [](std::int64_t number, const std::stop_token&) {
    if (number == 4) {
      throw std::runtime_error("item four");
    }
    return number;
  });
  for (std::int64_t i = 0; i < 4; ++i) {
    EXPECT_EQ(items.take(), i);
  }
  EXPECT_THROW(items.take(), std::runtime_error);
  EXPECT_THROW(items.take(), std::runtime_error);
}

TEST(OrderedPrefetch, StopsWhileItemsAreInTheMaking) {
  const auto begin = std::chrono::steady_clock::now();
  {
    std::atomic<bool> started = false;
    OrderedPrefetch<int> items(1000, 2, 4, [&](std::int64_t, const std::stop_token& stop) {
      started = true;
      for (int i = 0; i < 10'000 && !stop.stop_requested(); ++i) {
        std::this_thread::sleep_for(1ms);
      }
      return 0;
    });
    while (!started) {
      std::this_thread::yield();
    }
  }
  // An item takes ten seconds unless its maker hears of the stop.
  EXPECT_LT(std::chrono::steady_clock::now() - begin, 5s);
}

TEST(OrderedPrefetch, OfNothingIsEmpty) {
  OrderedPrefetch<int> items(0, 2, 2, [](std::int64_t, const std::stop_token&) { return 0; });
  EXPECT_EQ(items.left(), 0);
}

}  // namespace
}  // namespace vitsim
