#include "trainer/communication.h"

#include <algorithm>
#include <array>

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>

#include "models/error.h"

namespace vitsim {

namespace {

CpuAllReduce cpu_algorithm(AllReduceAlgorithm algorithm) {
  return algorithm == AllReduceAlgorithm::kOpenMpi ? CpuAllReduce::kLibrary : CpuAllReduce::kRing;
}

}  // namespace

Communication::Communication(const MpiSession& session,
                             AllReduceAlgorithm algorithm,
                             WaitPolicy wait)
    : session_(session),
      ring_(wait),
      cpu_(c10::make_intrusive<MpiBackend>(worker_, ring_, cpu_algorithm(algorithm))),
      group_(c10::make_intrusive<c10d::ProcessGroup>(
          c10::make_intrusive<c10d::HashStore>(), session.rank(), session.size())) {
  // "MPI" as a type would make c10d look for its own MPI backend.
  group_->setBackend(c10::DeviceType::CPU, c10d::ProcessGroup::BackendType::CUSTOM, cpu_);
  group_->setDefaultBackend(c10d::ProcessGroup::BackendType::CUSTOM);
}

Communication::~Communication() {
  if (device_) {
    device_->shutdown();
  }
}

void Communication::connect(Device& device, AllReduceAlgorithm algorithm) {
  // A host without GPU or plug-in would not join the broadcasts of those with.
  const std::vector<std::string> kinds =
      gather_text(device.torch_device().is_cpu() ? "the CPU" : "a GPU");
  require_same_kind(kinds, gather_text(session_.host()));

  std::array<char, 256> host{};
  session_.host().copy(host.data(), host.size() - 1);
  const auto tell = [&](void* data, int bytes) {
    worker_.run([&] { broadcast_from_first(session_, data, bytes); });
  };
  tell(host.data(), static_cast<int>(host.size()));
  device_ = device.connect({.rank = session_.rank(),
                            .size = session_.size(),
                            .host = host.data(),
                            .tell_from_rank_0 =
                                [&](std::int64_t value) {
                                  tell(&value, sizeof(value));
                                  return value;
                                }},
                           algorithm);
  if (device_) {
    group_->setBackend(
        device.torch_device().type(), c10d::ProcessGroup::BackendType::NCCL, device_);
  }
}

void Communication::barrier() {
  worker_.run([&] { ring_.barrier(); });
}

void Communication::sum(std::span<double> values) {
  worker_.run([&] { ring_.all_reduce(values.data(), values.size(), ElementType::kFloat64); });
}

std::vector<std::vector<std::int64_t>> Communication::gather(std::span<const std::int64_t> values) {
  const auto size = static_cast<std::size_t>(session_.size());
  std::vector<std::size_t> lengths(size);
  lengths[static_cast<std::size_t>(session_.rank())] = values.size();
  worker_.run([&] { ring_.all_gather(lengths.data(), size, sizeof(std::size_t)); });
  const std::size_t longest = *std::ranges::max_element(lengths);
  std::vector<std::int64_t> rows(size * longest);
  std::ranges::copy(values, rows.data() + static_cast<std::size_t>(session_.rank()) * longest);
  worker_.run([&] { ring_.all_gather(rows.data(), rows.size(), sizeof(std::int64_t)); });
  std::vector<std::vector<std::int64_t>> result;
  for (std::size_t rank = 0; rank < size; ++rank) {
    const std::int64_t* row = rows.data() + rank * longest;
    result.emplace_back(row, row + lengths[rank]);
  }
  return result;
}

std::vector<std::string> Communication::gather_text(const std::string& text) {
  const auto size = static_cast<std::size_t>(session_.size());
  const std::vector<std::int64_t> mine = {static_cast<std::int64_t>(text.size())};
  const auto lengths = gather(mine);
  std::size_t longest = 0;
  for (const auto& length : lengths) {
    longest = std::max(longest, static_cast<std::size_t>(length.front()));
  }
  std::string rows(size * longest, ' ');
  std::ranges::copy(text,
                    rows.begin() + static_cast<std::ptrdiff_t>(
                                       static_cast<std::size_t>(session_.rank()) * longest));
  worker_.run([&] { ring_.all_gather(rows.data(), rows.size(), 1); });
  std::vector<std::string> result;
  for (std::size_t rank = 0; rank < size; ++rank) {
    result.push_back(rows.substr(rank * longest, static_cast<std::size_t>(lengths[rank].front())));
  }
  return result;
}

void Communication::release_scratch() {
  worker_.run([&] { ring_.release_scratch(); });
}

void Communication::ping_pong(void* buffer, std::size_t bytes, int other, bool first) {
  worker_.run([&] { ring_.ping_pong(buffer, bytes, other, first); });
}

void Communication::on_every_rank(const std::function<void()>& check) {
  std::exception_ptr error;
  int code = 0;
  try {
    check();
  } catch (const UserError&) {
    error = std::current_exception();
    code = 2;
  } catch (const DeviceError&) {
    error = std::current_exception();
    code = 3;
  }
  const std::vector<std::int64_t> mine = {code};
  const auto codes = gather(mine);
  for (std::size_t rank = 0; rank < codes.size(); ++rank) {
    if (codes[rank][0] != 0) {
      if (static_cast<int>(rank) == session_.rank()) {
        std::rethrow_exception(error);
      }
      throw OtherRankFailed{static_cast<int>(codes[rank][0])};
    }
  }
}

void require_same_kind(const std::vector<std::string>& kinds,
                       const std::vector<std::string>& hosts) {
  const auto odd = std::ranges::find_if(kinds, [&](const auto& kind) { return kind != kinds[0]; });
  if (odd == kinds.end()) {
    return;
  }
  const auto rank = static_cast<std::size_t>(odd - kinds.begin());
  throw UserError(
      fmt::format("rank {} ({}) found {}, rank 0 ({}) {}, and they cannot sum gradients together: "
                  "--device cuda "
                  "says what a host without GPU lacks, --device cpu trains on CPUs everywhere",
                  rank,
                  hosts[rank],
                  kinds[rank],
                  hosts[0],
                  kinds[0]));
}

}  // namespace vitsim
