#include "trainer/mpi/session.h"

#include <array>
#include <exception>

#include <fmt/format.h>
#include <mpi.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {

MpiSession::MpiSession() {
  int provided = 0;
  if (MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided) != MPI_SUCCESS) {
    throw DeviceError("MPI_Init_thread failed");
  }
  if (provided < MPI_THREAD_SERIALIZED) {
    throw DeviceError(
        "this MPI does not let a thread of its own communicate (MPI_THREAD_SERIALIZED)");
  }
  MPI_Comm_rank(MPI_COMM_WORLD, &rank_);
  MPI_Comm_size(MPI_COMM_WORLD, &size_);
  MPI_Comm local = MPI_COMM_NULL;
  MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank_, MPI_INFO_NULL, &local);
  MPI_Comm_rank(local, &local_rank_);
  MPI_Comm_size(local, &local_size_);
  MPI_Comm_free(&local);
  std::array<char, 256> host{};
  gethostname(host.data(), host.size() - 1);
  host_ = host.data();
}

MpiSession::~MpiSession() {
  MPI_Finalize();
}

void on_every_rank(const MpiSession& session, const std::function<void()>& check) {
  std::exception_ptr mistake;
  try {
    check();
  } catch (const UserError&) {
    mistake = std::current_exception();
  }
  const int mine = mistake ? session.rank() : session.size();
  int first = session.size();
  MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  if (first == session.rank()) {
    std::rethrow_exception(mistake);
  }
  if (first < session.size()) {
    throw OtherRankFailed{};
  }
}

std::vector<std::string> bring_problems_to_first(const MpiSession& session,
                                                 const std::vector<std::string>& problems) {
  const int mine = problems.empty() ? session.size() : session.rank();
  int first = session.size();
  MPI_Allreduce(&mine, &first, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
  if (first == session.size()) {
    return {};
  }
  std::string text;
  if (first == session.rank()) {
    for (const std::string& problem : problems) {
      if (first != 0) {
        text += fmt::format("rank {} ({}): ", first, session.host());
      }
      text += problem + '\0';
    }
  }
  auto length = static_cast<std::uint64_t>(text.size());
  MPI_Bcast(&length, sizeof(length), MPI_BYTE, first, MPI_COMM_WORLD);
  text.resize(length);
  MPI_Bcast(text.data(), static_cast<int>(length), MPI_BYTE, first, MPI_COMM_WORLD);
  std::vector<std::string> brought;
  if (session.rank() == 0) {
    for (std::size_t begin = 0; begin < text.size(); begin = text.find('\0', begin) + 1) {
      brought.emplace_back(text.c_str() + begin);
    }
  }
  return brought;
}

void broadcast_from_first(const MpiSession& /*session*/, void* data, int bytes) {
  MPI_Bcast(data, bytes, MPI_BYTE, 0, MPI_COMM_WORLD);
}

void abort_job(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);  // MPI_Abort does not return
}

}  // namespace vitsim
