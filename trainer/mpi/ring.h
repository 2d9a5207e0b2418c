#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace vitsim {

/// Types whose sums the collectives know.
enum class ElementType { kFloat32, kFloat64, kFloat16, kBfloat16, kInt64 };

std::size_t bytes_per_element(ElementType type);

/// How the CPU sums over ranks: the ring below, or the MPI library's own choice.
enum class CpuAllReduce { kRing, kLibrary };

/// How a rank waits for others: it polls for `spin`, then sleeps `nap` between two looks, so that
/// it does not take the CPU from ranks that still compute.
struct WaitPolicy {
  std::chrono::nanoseconds spin{20'000};
  std::chrono::nanoseconds nap{50'000};
};

/// Collectives over all ranks of MPI_COMM_WORLD by point-to-point messages. One thread at a time.
/// Every function throws DeviceError with MPI's message and the call that failed.
class Ring {
 public:
  explicit Ring(WaitPolicy wait = {});

  /// Chunk `rank` of `count` elements cut in `size()` parts of ceil(count / size()), the last ones
  /// shorter or empty.
  struct Chunk {
    std::size_t begin = 0;
    std::size_t count = 0;
  };

  [[nodiscard]] Chunk chunk(std::size_t count, int rank) const;

  /// Sums in place; every rank gets the same bits.
  void all_reduce(void* data, std::size_t count, ElementType type);
  /// As `all_reduce`, by MPI_Allreduce. 16-bit floats are summed in a user-defined operation.
  void library_all_reduce(void* data, std::size_t count, ElementType type);
  /// Sums in place, but only this rank's chunk is whole afterwards.
  void reduce_scatter(void* data, std::size_t count, ElementType type);
  /// Every rank's chunk, from that rank.
  void all_gather(void* data, std::size_t count, std::size_t element_bytes);
  void broadcast(void* data, std::size_t bytes, int root);
  void barrier();
  /// A message of `bytes` to rank `other` and one back; both call it, one of them `first`.
  void ping_pong(void* buffer, std::size_t bytes, int other, bool first);

  /// Gives back what the largest sum so far needed beside its own data.
  void release_scratch() { std::vector<std::byte>().swap(scratch_); }

  [[nodiscard]] int rank() const { return rank_; }

  [[nodiscard]] int size() const { return size_; }

 private:
  void exchange(const std::byte* send,
                std::size_t send_bytes,
                std::byte* receive,
                std::size_t receive_bytes,
                std::byte* sum_into,
                ElementType type);

  WaitPolicy wait_;
  int rank_ = 0;
  int size_ = 1;
  std::vector<std::byte> scratch_;
};

}  // namespace vitsim
