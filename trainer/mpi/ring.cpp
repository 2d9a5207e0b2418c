// Ring AllReduce (Patarasuk and Yuan, 2009): the vector is cut in N chunks of c = ceil(count / N).
// In N-1 steps of reduce-scatter every rank sends one chunk to the next rank and adds the chunk
// that arrives from the previous one, so that rank r ends up with the sum of chunk r; N-1 steps of
// all-gather pass the sums on. Each rank moves 2(N-1)/N of the vector each way, whatever N.
// A sum is computed once and copied, so all ranks hold the same bits.
//
// A chunk travels in segments: adding one segment overlaps the transfer of the next, and no count
// exceeds an int. Ranks wait politely (see WaitPolicy): a spinning rank would slow down the very
// rank it waits for where they share a CPU.
#include "trainer/mpi/ring.h"

#include <algorithm>
#include <array>
#include <string>
#include <thread>

#include <c10/util/BFloat16.h>
#include <c10/util/Half.h>
#include <mpi.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr std::size_t kSegmentBytes = 4 << 20;
constexpr int kTag = 7;

void check(int code, const char* call) {
  if (code == MPI_SUCCESS) {
    return;
  }
  std::array<char, MPI_MAX_ERROR_STRING> text{};
  int length = 0;
  MPI_Error_string(code, text.data(), &length);
  throw DeviceError(std::string(call) + ": " +
                    std::string(text.data(), static_cast<std::size_t>(length)));
}

template <typename T>
void add(std::byte* into, const std::byte* from, std::size_t bytes) {
  auto* a = reinterpret_cast<T*>(into);
  const auto* b = reinterpret_cast<const T*>(from);
  for (std::size_t i = 0; i < bytes / sizeof(T); ++i) {
    a[i] = a[i] + b[i];
  }
}

void add(ElementType type, std::byte* into, const std::byte* from, std::size_t bytes) {
  switch (type) {
    case ElementType::kFloat32:
      return add<float>(into, from, bytes);
    case ElementType::kFloat64:
      return add<double>(into, from, bytes);
    case ElementType::kFloat16:
      return add<c10::Half>(into, from, bytes);
    case ElementType::kBfloat16:
      return add<c10::BFloat16>(into, from, bytes);
    case ElementType::kInt64:
      return add<std::int64_t>(into, from, bytes);
  }
}

template <typename T>
void add_operation(void* from, void* into, int* count, MPI_Datatype*) {
  add<T>(static_cast<std::byte*>(into),
         static_cast<const std::byte*>(from),
         static_cast<std::size_t>(*count) * sizeof(T));
}

// Looks until `complete` says true.
template <typename Complete>
void wait_politely(const WaitPolicy& policy, const Complete& complete) {
  if (complete()) {
    return;
  }
  const auto spin_until = std::chrono::steady_clock::now() + policy.spin;
  while (std::chrono::steady_clock::now() < spin_until) {
    if (complete()) {
      return;
    }
  }
  while (!complete()) {
    std::this_thread::sleep_for(policy.nap);
  }
}

}  // namespace

std::size_t bytes_per_element(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return 4;
    case ElementType::kFloat16:
    case ElementType::kBfloat16:
      return 2;
    case ElementType::kFloat64:
    case ElementType::kInt64:
      return 8;
  }
  return 0;
}

Ring::Ring(WaitPolicy wait) : wait_(wait) {
  MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
}

Ring::Chunk Ring::chunk(std::size_t count, int rank) const {
  const auto n = static_cast<std::size_t>(size_);
  const std::size_t length = (count + n - 1) / n;
  const std::size_t begin = std::min(count, length * static_cast<std::size_t>(rank));
  return {.begin = begin, .count = std::min(length, count - begin)};
}

// One ring step: sends to the next rank while receiving from the previous one. With `sum_into`,
// what arrives is added there, segment by segment; otherwise it is kept in `receive`.
void Ring::exchange(const std::byte* send,
                    std::size_t send_bytes,
                    std::byte* receive,
                    std::size_t receive_bytes,
                    std::byte* sum_into,
                    ElementType type) {
  const int next = (rank_ + 1) % size_;
  const int previous = (rank_ + size_ - 1) % size_;
  std::vector<MPI_Request> receives;
  std::vector<MPI_Request> sends;
  for (std::size_t at = 0; at < receive_bytes; at += kSegmentBytes) {
    const auto bytes = static_cast<int>(std::min(kSegmentBytes, receive_bytes - at));
    check(MPI_Irecv(receive + at,
                    bytes,
                    MPI_BYTE,
                    previous,
                    kTag,
                    MPI_COMM_WORLD,
                    &receives.emplace_back()),
          "MPI_Irecv");
  }
  for (std::size_t at = 0; at < send_bytes; at += kSegmentBytes) {
    const auto bytes = static_cast<int>(std::min(kSegmentBytes, send_bytes - at));
    check(MPI_Isend(send + at, bytes, MPI_BYTE, next, kTag, MPI_COMM_WORLD, &sends.emplace_back()),
          "MPI_Isend");
  }
  for (std::size_t i = 0; i < receives.size(); ++i) {
    wait_politely(wait_, [&] {
      int complete = 0;
      check(MPI_Test(&receives[i], &complete, MPI_STATUS_IGNORE), "MPI_Test (receive)");
      return complete != 0;
    });
    if (sum_into != nullptr) {
      const std::size_t at = i * kSegmentBytes;
      add(type, sum_into + at, receive + at, std::min(kSegmentBytes, receive_bytes - at));
    }
  }
  wait_politely(wait_, [&] {
    int complete = 0;
    check(MPI_Testall(static_cast<int>(sends.size()), sends.data(), &complete, MPI_STATUSES_IGNORE),
          "MPI_Testall (send)");
    return complete != 0;
  });
}

void Ring::reduce_scatter(void* data, std::size_t count, ElementType type) {
  const std::size_t width = bytes_per_element(type);
  auto* bytes = static_cast<std::byte*>(data);
  scratch_.resize(chunk(count, 0).count * width);
  for (int step = 1; step < size_; ++step) {
    const Chunk out = chunk(count, (rank_ - step + size_) % size_);
    const Chunk in = chunk(count, (rank_ - step - 1 + 2 * size_) % size_);
    exchange(bytes + out.begin * width,
             out.count * width,
             scratch_.data(),
             in.count * width,
             bytes + in.begin * width,
             type);
  }
}

void Ring::all_gather(void* data, std::size_t count, std::size_t element_bytes) {
  auto* bytes = static_cast<std::byte*>(data);
  for (int step = 0; step + 1 < size_; ++step) {
    const Chunk out = chunk(count, (rank_ - step + size_) % size_);
    const Chunk in = chunk(count, (rank_ - step - 1 + size_) % size_);
    exchange(bytes + out.begin * element_bytes,
             out.count * element_bytes,
             bytes + in.begin * element_bytes,
             in.count * element_bytes,
             nullptr,
             ElementType::kInt64);
  }
}

void Ring::all_reduce(void* data, std::size_t count, ElementType type) {
  reduce_scatter(data, count, type);
  all_gather(data, count, bytes_per_element(type));
}

void Ring::library_all_reduce(void* data, std::size_t count, ElementType type) {
  MPI_Datatype datatype = MPI_FLOAT;
  MPI_Op operation = MPI_SUM;
  bool own_operation = false;
  switch (type) {
    case ElementType::kFloat32:
      break;
    case ElementType::kFloat64:
      datatype = MPI_DOUBLE;
      break;
    case ElementType::kInt64:
      datatype = MPI_INT64_T;
      break;
    case ElementType::kFloat16:
    case ElementType::kBfloat16:
      datatype = MPI_UINT16_T;
      check(MPI_Op_create(type == ElementType::kFloat16 ? add_operation<c10::Half>
                                                        : add_operation<c10::BFloat16>,
                          1,
                          &operation),
            "MPI_Op_create");
      own_operation = true;
      break;
  }
  check(MPI_Allreduce(
            MPI_IN_PLACE, data, static_cast<int>(count), datatype, operation, MPI_COMM_WORLD),
        "MPI_Allreduce");
  if (own_operation) {
    MPI_Op_free(&operation);
  }
}

void Ring::broadcast(void* data, std::size_t bytes, int root) {
  // Start-up only: a chain of segments is simple and, pipelined, as fast as a tree for large data.
  const int position = (rank_ - root + size_) % size_;
  auto* at = static_cast<std::byte*>(data);
  std::vector<MPI_Request> sends;
  for (std::size_t offset = 0; offset < bytes; offset += kSegmentBytes) {
    const auto length = static_cast<int>(std::min(kSegmentBytes, bytes - offset));
    if (position > 0) {
      MPI_Request request = MPI_REQUEST_NULL;
      check(MPI_Irecv(at + offset,
                      length,
                      MPI_BYTE,
                      (rank_ + size_ - 1) % size_,
                      kTag,
                      MPI_COMM_WORLD,
                      &request),
            "MPI_Irecv");
      wait_politely(wait_, [&] {
        int complete = 0;
        check(MPI_Test(&request, &complete, MPI_STATUS_IGNORE), "MPI_Test (broadcast)");
        return complete != 0;
      });
    }
    if (position + 1 < size_) {
      check(MPI_Isend(at + offset,
                      length,
                      MPI_BYTE,
                      (rank_ + 1) % size_,
                      kTag,
                      MPI_COMM_WORLD,
                      &sends.emplace_back()),
            "MPI_Isend");
    }
  }
  wait_politely(wait_, [&] {
    int complete = 0;
    check(MPI_Testall(static_cast<int>(sends.size()), sends.data(), &complete, MPI_STATUSES_IGNORE),
          "MPI_Testall (broadcast)");
    return complete != 0;
  });
}

void Ring::ping_pong(void* buffer, std::size_t bytes, int other, bool first) {
  const int count = static_cast<int>(bytes);
  const auto send = [&] {
    check(MPI_Send(buffer, count, MPI_BYTE, other, kTag, MPI_COMM_WORLD), "MPI_Send");
  };
  const auto receive = [&] {
    check(MPI_Recv(buffer, count, MPI_BYTE, other, kTag, MPI_COMM_WORLD, MPI_STATUS_IGNORE),
          "MPI_Recv");
  };
  if (first) {
    send();
    receive();
  } else {
    receive();
    send();
  }
}

void Ring::barrier() {
  MPI_Request request = MPI_REQUEST_NULL;
  check(MPI_Ibarrier(MPI_COMM_WORLD, &request), "MPI_Ibarrier");
  wait_politely(wait_, [&] {
    int complete = 0;
    check(MPI_Test(&request, &complete, MPI_STATUS_IGNORE), "MPI_Test (barrier)");
    return complete != 0;
  });
}

}  // namespace vitsim
