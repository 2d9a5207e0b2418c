#include "trainer/rank_status.h"

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

#include <arpa/inet.h>
#include <fcntl.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include "models/error.h"

namespace vitsim {

namespace {

constexpr int kPatienceMs = 1000;

bool ready(int descriptor, short events) {
  pollfd entry{.fd = descriptor, .events = events, .revents = 0};
  return poll(&entry, 1, kPatienceMs) == 1 && (entry.revents & events) != 0;
}

// Own addresses, loopback last: on one machine with several network namespaces it leads nowhere.
std::vector<std::string> own_addresses() {
  std::vector<std::string> result;
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) == 0) {
    for (const ifaddrs* entry = all; entry != nullptr; entry = entry->ifa_next) {
      if (entry->ifa_addr != nullptr && entry->ifa_addr->sa_family == AF_INET &&
          (entry->ifa_flags & IFF_UP) != 0 && (entry->ifa_flags & IFF_LOOPBACK) == 0) {
        sockaddr_in address{};
        std::memcpy(&address, entry->ifa_addr, sizeof(address));
        std::array<char, INET_ADDRSTRLEN> text{};
        inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
        result.emplace_back(text.data());
      }
    }
    freeifaddrs(all);
  }
  result.emplace_back("127.0.0.1");
  return result;
}

int connect_to(const std::string& text, std::uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  inet_pton(AF_INET, text.c_str(), &address.sin_addr);
  const int descriptor = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (descriptor < 0) {
    return -1;
  }
  const bool started =
      connect(descriptor, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 ||
      errno == EINPROGRESS;
  int error = 0;
  socklen_t length = sizeof(error);
  if (started && ready(descriptor, POLLOUT) &&
      getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0) {
    return descriptor;
  }
  ::close(descriptor);
  return -1;
}

void send_at_once(int descriptor) {
  const int on = 1;
  setsockopt(descriptor, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

}  // namespace

StatusLink::StatusLink(StatusLink&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)),
      received_(std::move(other.received_)),
      said_last_(other.said_last_),
      heard_last_(other.heard_last_) {}

StatusLink& StatusLink::operator=(StatusLink&& other) noexcept {
  close();
  descriptor_ = std::exchange(other.descriptor_, -1);
  received_ = std::move(other.received_);
  said_last_ = other.said_last_;
  heard_last_ = other.heard_last_;
  return *this;
}

StatusLink::~StatusLink() {
  close();
}

void StatusLink::close() {
  if (descriptor_ >= 0) {
    ::close(std::exchange(descriptor_, -1));
  }
}

StatusLink StatusLink::call(const MeetingPoint& point) {
  for (const std::string& address : point.addresses) {
    const int descriptor = connect_to(address, point.port);
    if (descriptor < 0) {
      continue;
    }
    send_at_once(descriptor);
    if (::send(descriptor, &point.token, sizeof(point.token), MSG_NOSIGNAL) ==
        sizeof(point.token)) {
      return StatusLink(descriptor);
    }
    ::close(descriptor);
  }
  return {};
}

void StatusLink::send(const RankStatus& status) {
  if (said_last_) {
    return;
  }
  // A full buffer means that the other side does not read: this status is then not worth waiting.
  static_cast<void>(::send(descriptor_, &status, sizeof(status), MSG_NOSIGNAL | MSG_DONTWAIT));
}

void StatusLink::send_last(const RankStatus& status, const std::string& why) {
  send(status);
  static_cast<void>(::send(descriptor_, why.data(), why.size(), MSG_NOSIGNAL | MSG_DONTWAIT));
  shutdown(descriptor_, SHUT_WR);  // what was sent still arrives
  said_last_ = true;
}

bool StatusLink::receive(RankStatus& newest, bool& closed) {
  std::array<char, 4096> buffer{};
  while (true) {
    const ssize_t got = recv(descriptor_, buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (got > 0) {
      received_.insert(received_.end(), buffer.begin(), buffer.begin() + got);
      continue;
    }
    closed = got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR);
    break;
  }
  std::size_t at = 0;
  while (!heard_last_ && received_.size() - at >= sizeof(RankStatus)) {
    std::memcpy(&newest, received_.data() + at, sizeof(RankStatus));
    at += sizeof(RankStatus);
    heard_last_ = newest.state == RankStatus::State::kFailing;
  }
  received_.erase(received_.begin(), received_.begin() + static_cast<std::ptrdiff_t>(at));
  return at > 0;
}

StatusListener::StatusListener() {
  descriptor_ = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_ANY);
  socklen_t length = sizeof(address);
  if (descriptor_ < 0 ||
      bind(descriptor_, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(descriptor_, SOMAXCONN) != 0 ||
      getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &length) != 0) {
    throw DeviceError(std::string("no TCP port for the watchdog: ") + std::strerror(errno));
  }
  point_.addresses = own_addresses();
  point_.port = ntohs(address.sin_port);
  if (getrandom(&point_.token, sizeof(point_.token), 0) != sizeof(point_.token)) {
    throw DeviceError(std::string("getrandom: ") + std::strerror(errno));
  }
}

StatusListener::~StatusListener() {
  if (descriptor_ >= 0) {
    ::close(descriptor_);
  }
}

StatusLink StatusListener::accept() {
  const int descriptor = accept4(descriptor_, nullptr, nullptr, SOCK_CLOEXEC);
  if (descriptor < 0) {
    return {};
  }
  std::uint64_t token = 0;
  if (ready(descriptor, POLLIN) &&
      recv(descriptor, &token, sizeof(token), MSG_DONTWAIT) == sizeof(token) &&
      token == point_.token) {
    send_at_once(descriptor);
    return StatusLink(descriptor);
  }
  ::close(descriptor);
  return {};
}

}  // namespace vitsim
