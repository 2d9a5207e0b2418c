#include "tests/simgrid/simgrid_world.h"

#include <memory>
#include <stdexcept>
#include <string>

#include <simgrid/s4u.hpp>
#include <sys/wait.h>
#include <unistd.h>

namespace vitsim::testing {

namespace {

namespace sg4 = simgrid::s4u;

/// Hosts and links of `network` in one zone, with the routes that are used.
class World {
 public:
  explicit World(const Network& network)
      : network_(network), zone_(sg4::create_full_zone("cluster")) {
    for (std::int64_t rank = 0; rank < network.world_size(); ++rank) {
      hosts_.push_back(zone_->create_host("rank" + std::to_string(rank), 1e9));
      hosts_.back()->seal();
    }
    for (LinkId id = 0; id < network.links().size(); ++id) {
      const LinkData& link = network.links()[id];
      links_.push_back(zone_->create_link("link" + std::to_string(id), link.bandwidth.value())
                           ->set_latency(link.latency.value()));
      links_.back()->seal();
    }
    for (std::int64_t from = 0; from < network.world_size(); ++from) {
      for (std::int64_t to = 0; to < network.world_size(); ++to) {
        if (from != to) {
          add_route(from, to);
        }
      }
    }
    zone_->seal();
  }

  [[nodiscard]] sg4::Host* host(std::int64_t rank) const {
    return hosts_[static_cast<std::size_t>(rank)];
  }

 private:
  void add_route(std::int64_t from, std::int64_t to) {
    std::vector<LinkId> path;
    network_.append_route(from, to, path);
    std::vector<sg4::LinkInRoute> route;
    for (const LinkId id : path) {
      route.emplace_back(links_[id]);
    }
    zone_->add_route(
        host(from)->get_netpoint(), host(to)->get_netpoint(), nullptr, nullptr, route, false);
  }

  const Network& network_;
  sg4::NetZone* zone_;
  std::vector<sg4::Host*> hosts_;
  std::vector<sg4::Link*> links_;
};

void add_ring(const World& world, const WorldRing& ring, std::vector<double>& ends) {
  const std::size_t n = ring.ranks.size();
  const auto chunk = static_cast<std::uint64_t>((ring.bytes + static_cast<std::int64_t>(n) - 1) /
                                                static_cast<std::int64_t>(n));
  auto arrived = std::make_shared<std::vector<sg4::SemaphorePtr>>();
  for (std::size_t i = 0; i < n; ++i) {
    arrived->push_back(sg4::Semaphore::create(0));
  }
  for (std::size_t i = 0; i < n; ++i) {
    sg4::Host* const self = world.host(ring.ranks[i]);
    sg4::Host* const next = world.host(ring.ranks[(i + 1) % n]);
    sg4::Actor::create("ring", self, [&ring, &ends, arrived, self, next, i, n, chunk] {
      for (const double compute_s : ring.compute_s[i]) {
        sg4::this_actor::sleep_for(compute_s);
        for (std::size_t step = 0; step < 2 * (n - 1); ++step) {
          sg4::Comm::sendto(self, next, chunk);
          (*arrived)[(i + 1) % n]->release();
          (*arrived)[i]->acquire();
        }
      }
      ends[i] = sg4::Engine::get_clock();
    });
  }
}

void add_flow(const World& world, const WorldFlow& flow, double& end) {
  sg4::Host* const from = world.host(flow.from);
  sg4::Host* const to = world.host(flow.to);
  sg4::Actor::create("flow", from, [&flow, &end, from, to] {
    sg4::this_actor::sleep_for(flow.start_s);
    sg4::Comm::sendto(from, to, static_cast<std::uint64_t>(flow.bytes));
    end = sg4::Engine::get_clock();
  });
}

/// The child's part: all ends, rings first, as bytes into `pipe`.
void run_child(const Network& network,
               const std::vector<WorldRing>& rings,
               const std::vector<WorldFlow>& flows,
               int pipe) {
  std::vector<std::string> words = {"simgrid",
                                    "--cfg=network/model:CM02",
                                    "--cfg=network/crosstraffic:0",
                                    "--cfg=network/TCP-gamma:0",
                                    "--cfg=surf/precision:1e-12",
                                    "--cfg=maxmin/precision:1e-12",
                                    "--log=root.thresh:warning"};
  std::vector<char*> arguments;
  for (std::string& word : words) {
    arguments.push_back(word.data());
  }
  auto count = static_cast<int>(arguments.size());
  sg4::Engine engine(&count, arguments.data());
  const World world(network);
  WorldEnds ends;
  ends.flows_s.resize(flows.size());
  for (const WorldRing& ring : rings) {
    ends.rings_s.emplace_back(ring.ranks.size());
  }
  for (std::size_t i = 0; i < rings.size(); ++i) {
    add_ring(world, rings[i], ends.rings_s[i]);
  }
  for (std::size_t i = 0; i < flows.size(); ++i) {
    add_flow(world, flows[i], ends.flows_s[i]);
  }
  engine.run();
  ends.rings_s.push_back(ends.flows_s);
  for (const std::vector<double>& part : ends.rings_s) {
    const auto size = static_cast<ssize_t>(part.size() * sizeof(double));
    if (write(pipe, part.data(), static_cast<std::size_t>(size)) != size) {
      _exit(1);
    }
  }
}

void read_all(int pipe, std::vector<double>& numbers) {
  std::size_t done = 0;
  const std::size_t size = numbers.size() * sizeof(double);
  while (done < size) {
    const ssize_t got = read(pipe, reinterpret_cast<char*>(numbers.data()) + done, size - done);
    if (got <= 0) {
      throw std::runtime_error("the SimGrid child ended early");
    }
    done += static_cast<std::size_t>(got);
  }
}

}  // namespace

WorldEnds run_in_simgrid(const Network& network,
                         const std::vector<WorldRing>& rings,
                         const std::vector<WorldFlow>& flows) {
  int ends_of_pipe[2];
  if (pipe(ends_of_pipe) != 0) {
    throw std::runtime_error("no pipe to the SimGrid child");
  }
  const pid_t child = fork();
  if (child == 0) {
    close(ends_of_pipe[0]);
    run_child(network, rings, flows, ends_of_pipe[1]);
    _exit(0);
  }
  close(ends_of_pipe[1]);
  WorldEnds ends;
  for (const WorldRing& ring : rings) {
    read_all(ends_of_pipe[0], ends.rings_s.emplace_back(ring.ranks.size()));
  }
  ends.flows_s.resize(flows.size());
  read_all(ends_of_pipe[0], ends.flows_s);
  close(ends_of_pipe[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return ends;
}

}  // namespace vitsim::testing
