#include "trainer/mpi/session.h"

#include <array>
#include <exception>

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

void broadcast_from_first(const MpiSession& /*session*/, void* data, int bytes) {
  MPI_Bcast(data, bytes, MPI_BYTE, 0, MPI_COMM_WORLD);
}

void abort_job(int exit_code) {
  MPI_Abort(MPI_COMM_WORLD, exit_code);
  _exit(exit_code);  // MPI_Abort does not return
}

}  // namespace vitsim
