#include "trainer/mpi/worker.h"

#include <future>
#include <utility>

namespace vitsim {

MpiWorker::MpiWorker() : thread_([this] { loop(); }) {}

MpiWorker::~MpiWorker() {
  {
    const std::lock_guard lock(mutex_);
    closing_ = true;
  }
  changed_.notify_one();
  thread_.join();
}

void MpiWorker::submit(std::function<void()> job, Done done) {
  {
    const std::lock_guard lock(mutex_);
    queue_.push_back({std::move(job), std::move(done)});
  }
  changed_.notify_one();
}

void MpiWorker::run(const std::function<void()>& job) {
  std::promise<void> finished;
  submit(job, [&](std::exception_ptr error) {
    if (error) {
      finished.set_exception(std::move(error));
    } else {
      finished.set_value();
    }
  });
  finished.get_future().get();
}

void MpiWorker::loop() {
  while (true) {
    Entry entry;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [&] { return closing_ || !queue_.empty(); });
      if (queue_.empty()) {
        return;
      }
      entry = std::move(queue_.front());
      queue_.pop_front();
    }
    begun_.fetch_add(1, std::memory_order_relaxed);
    std::exception_ptr error;
    try {
      entry.job();
    } catch (...) {
      error = std::current_exception();
    }
    entry.done(std::move(error));
  }
}

}  // namespace vitsim
