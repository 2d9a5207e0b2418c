// Run by mpirun on some ranks: the collectives against closed forms. Rank r contributes r + 1 + i %
// 5 to element i, so that sums over N ranks are N(N + 1) / 2 + N (i % 5): small whole numbers,
// exact in every type.
#include <cstdio>
#include <cstring>
#include <vector>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>

#include "trainer/mpi/ring.h"
#include "trainer/mpi/session.h"

namespace vitsim {
namespace {

int failures = 0;

void expect(bool condition, const char* what, std::size_t count) {
  if (!condition) {
    ++failures;
    std::printf("FAILED: %s of %zu elements\n", what, count);
  }
}

template <typename T>
void check_type(Ring& ring, ElementType type, const char* name) {
  const int n = ring.size();
  // Fewer elements than ranks, no multiple of them, and more than one segment of 4 MiB.
  for (const std::size_t count : {std::size_t{0},
                                  std::size_t{1},
                                  std::size_t{7},
                                  std::size_t{1000},
                                  std::size_t{5'000'001}}) {
    std::vector<T> own(count);
    std::vector<T> sum(count);
    for (std::size_t i = 0; i < count; ++i) {
      own[i] = static_cast<T>(static_cast<float>(ring.rank() + 1 + static_cast<int>(i % 5)));
      sum[i] = static_cast<T>(static_cast<float>(n * (n + 1) / 2 + n * static_cast<int>(i % 5)));
    }
    auto data = own;
    ring.all_reduce(data.data(), count, type);
    expect(data == sum, name, count);

    data = own;
    ring.library_all_reduce(data.data(), count, type);
    expect(data == sum, "MPI_Allreduce", count);

    data = own;
    ring.reduce_scatter(data.data(), count, type);
    const Ring::Chunk chunk = ring.chunk(count, ring.rank());
    expect(std::equal(data.begin() + static_cast<std::ptrdiff_t>(chunk.begin),
                      data.begin() + static_cast<std::ptrdiff_t>(chunk.begin + chunk.count),
                      sum.begin() + static_cast<std::ptrdiff_t>(chunk.begin)),
           "reduce-scatter",
           count);
    ring.all_gather(data.data(), count, sizeof(T));
    expect(data == sum, "all-gather", count);
  }
}

int check() {
  const MpiSession session;
  Ring ring;
  std::size_t covered = 0;
  for (int rank = 0; rank < ring.size(); ++rank) {
    expect(ring.chunk(10, rank).begin == covered, "chunks", 10);
    covered += ring.chunk(10, rank).count;
  }
  expect(covered == 10, "chunks", 10);
  check_type<float>(ring, ElementType::kFloat32, "fp32");
  check_type<double>(ring, ElementType::kFloat64, "fp64");
  check_type<c10::Half>(ring, ElementType::kFloat16, "fp16");
  check_type<c10::BFloat16>(ring, ElementType::kBfloat16, "bf16");
  check_type<std::int64_t>(ring, ElementType::kInt64, "int64");
  for (int root = 0; root < ring.size(); ++root) {
    std::vector<int> data(3'000'000, ring.rank() == root ? root + 5 : -1);
    ring.broadcast(data.data(), data.size() * sizeof(int), root);
    expect(data == std::vector<int>(data.size(), root + 5), "broadcast", data.size());
  }
  ring.barrier();
  return failures == 0 ? 0 : 1;
}

}  // namespace
}  // namespace vitsim

int main() {
  return vitsim::check();
}
