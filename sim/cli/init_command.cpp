#include <array>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <memory>

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>

#include "calibrate/import/csv_table.h"
#include "calibrate/profile/library.h"
#include "models/document/atomic_file.h"
#include "models/document/quantity_text.h"
#include "models/document/words.h"
#include "models/error.h"
#include "sim/cli/command.h"
#include "sim/cli/machine_probe.h"

namespace vitsim {

namespace {

namespace fs = std::filesystem;
using OrderedJson = nlohmann::ordered_json;

struct InitArguments {
  fs::path file = "cluster.json";
  fs::path hostfile;
  std::string remote_shell = "ssh -o BatchMode=yes -o ConnectTimeout=10";
};

std::string in_shell_quotes(std::string_view text) {
  std::string quoted = "'";
  for (const char c : text) {
    quoted += c == '\'' ? std::string("'\\''") : std::string(1, c);
  }
  return quoted + "'";
}

// What a shell command prints; throws DeviceError where it fails.
std::string output_of(const std::string& command, const std::string& what) {
  struct Close {
    int* status;

    void operator()(std::FILE* pipe) const { *status = pclose(pipe); }
  };

  int status = 0;
  std::string text;
  {
    const std::unique_ptr<std::FILE, Close> pipe(popen(command.c_str(), "r"), Close{&status});
    if (pipe == nullptr) {
      throw DeviceError(fmt::format("{}: no shell can be started", what));
    }
    std::array<char, 4096> part{};
    for (std::size_t read = 0; (read = std::fread(part.data(), 1, part.size(), pipe.get())) > 0;) {
      text.append(part.data(), read);
    }
  }
  if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
    throw DeviceError(fmt::format(
        "{}: cannot be asked for its GPUs: is it reachable by ssh without a password?", what));
  }
  return text;
}

// Hosts of an MPI host file: the first word of each line; "slots=" and comments are left out.
std::vector<std::string> hosts_of(const fs::path& file) {
  std::ifstream stream(file);
  if (!stream) {
    throw UserError(fmt::format("{}: cannot be read", file.string()));
  }
  std::vector<std::string> hosts;
  for (std::string line; std::getline(stream, line);) {
    const std::string_view text = trimmed(std::string_view(line).substr(0, line.find('#')));
    const std::string host(text.substr(0, text.find_first_of(" \t:")));
    if (host.empty()) {
      continue;
    }
    if (host.front() == '-' || printable(host) != host) {
      throw UserError(fmt::format("{}: {} is no host's name", file.string(), in_quotes(host)));
    }
    if (std::ranges::find(hosts, host) == hosts.end()) {
      hosts.push_back(host);
    }
  }
  if (hosts.empty()) {
    throw UserError(fmt::format("{}: names no host", file.string()));
  }
  return hosts;
}

struct Node {
  ProbedMachine machine;
  std::string host;  // empty: this machine
};

std::vector<Node> probe(const InitArguments& arguments) {
  const ProfileLibrary library;
  std::vector<Node> nodes;
  if (arguments.hostfile.empty()) {
    const std::string text =
        output_of(fmt::format("sh -c {}", in_shell_quotes(probe_script())), "this machine");
    nodes.push_back({.machine = read_probe(text, "this machine", library)});
    return nodes;
  }
  for (const std::string& host : hosts_of(arguments.hostfile)) {
    const std::string script =
        in_shell_quotes(fmt::format("sh -c {}", in_shell_quotes(probe_script())));
    const std::string text = output_of(
        fmt::format("{} {} {} < /dev/null", arguments.remote_shell, in_shell_quotes(host), script),
        host);
    nodes.push_back({.machine = read_probe(text, host, library), .host = host});
  }
  return nodes;
}

OrderedJson nic_json(const ProbedMachine& machine) {
  OrderedJson json = machine.nic_is_sheet
                         ? OrderedJson{{"link", machine.nic}}
                         : OrderedJson{{"bandwidth", machine.nic.empty() ? "10Gbps" : machine.nic},
                                       {"latency", "50us"}};
  if (machine.nics > 1) {
    json["count"] = machine.nics;
  }
  return json;
}

// Names of nodes are unique: two machines may call themselves alike.
std::string unique_name(const OrderedJson& nodes, const std::string& wanted) {
  const auto taken = [&](const std::string& name) {
    return std::ranges::any_of(nodes,
                               [&](const OrderedJson& node) { return node["name"] == name; });
  };
  std::string name = wanted;
  for (int i = 2; taken(name); ++i) {
    name = fmt::format("{}-{}", wanted, i);
  }
  return name;
}

bool has_gpus(const std::vector<Node>& nodes) {
  return std::ranges::any_of(nodes, [](const Node& node) { return !node.machine.gpus.empty(); });
}

OrderedJson cluster_json(const std::vector<Node>& nodes) {
  OrderedJson json;
  if (const auto configs = shipped_configs()) {
    json["$schema"] = (*configs / "schemas/cluster.schema.json").string();
  }
  OrderedJson list = OrderedJson::array();
  for (const Node& node : nodes) {
    const ProbedMachine& machine = node.machine;
    OrderedJson entry = {{"name", unique_name(list, machine.hostname)}};
    if (!node.host.empty()) {
      entry["host"] = node.host;
    }
    entry["gpus"] = OrderedJson::array();
    for (const ProbedGpu& gpu : machine.gpus) {
      entry["gpus"].push_back(gpu.name);
    }
    if (machine.gpus.empty()) {
      entry["gpus"].push_back("cpu");
    }
    if (!machine.intra_node.empty()) {
      entry["intra_node"] = {{"link", machine.intra_node}};
    }
    if (nodes.size() > 1 && nic_json(machine) != nic_json(nodes.front().machine)) {
      entry["nic"] = nic_json(machine);
    }
    list.push_back(std::move(entry));
  }
  json["cluster"]["nodes"] = std::move(list);
  if (nodes.size() > 1) {
    json["cluster"]["network"] = nic_json(nodes.front().machine);
  }
  if (has_gpus(nodes)) {
    json["training"] = {{"model", "vit-b-16"},
                        {"dataset", {{"name", "cifar10"}}},
                        {"micro_batch_per_gpu", 32},
                        {"epochs", 10},
                        {"precision", "amp-bf16"},
                        {"gradient_sync", "ddp"}};
  } else {
    // Small enough for a CPU to train in a minute.
    json["training"] = {
        {"model", {{"layers", 6}, {"width", 192}, {"heads", 3}, {"mlp", 768}, {"patch", 8}}},
        {"image_size", 64},
        {"classes", 10},
        {"dataset", {{"name", "synthetic"}, {"samples", 1600}}},
        {"micro_batch_per_gpu", 16},
        {"epochs", 1},
        {"precision", "fp32"},
        {"gradient_sync", "ddp"}};
  }
  return json;
}

void explain(const InitArguments& arguments, const std::vector<Node>& nodes) {
  fmt::print("{} describes {}:\n",
             arguments.file.string(),
             nodes.size() == 1 ? "one machine" : fmt::format("{} machines", nodes.size()));
  for (const Node& node : nodes) {
    const ProbedMachine& machine = node.machine;
    fmt::print("  {}: {} cores, {} of memory\n",
               printable(machine.hostname),
               machine.cores,
               human(Bytes(static_cast<double>(machine.memory_bytes))));
    for (const ProbedGpu& gpu : machine.gpus) {
      fmt::print("    GPU {}: {}\n",
                 printable(gpu.device),
                 gpu.is_known ? gpu.name
                              : fmt::format("no data sheet; called {}. Calibrate it, or add a "
                                            "sheet as docs/formats.md shows",
                                            gpu.name));
    }
    if (machine.gpus.empty()) {
      fmt::print(
          "    no GPU found (neither nvidia-smi nor rocm-smi answers): its CPU is one rank\n");
    }
    if (!machine.intra_node_why.empty()) {
      fmt::print("    links: {}\n", printable(machine.intra_node_why));
    }
    if (nodes.size() > 1) {
      fmt::print("    network: {}\n",
                 machine.nic.empty() ? "the rate of its NIC is not known: 10Gbps is assumed"
                 : machine.nics > 1  ? fmt::format("{} NICs, each {}", machine.nics, machine.nic)
                                     : machine.nic);
    }
  }
  fmt::print(
      "\nWhat to look at in the file\n"
      "  cluster.nodes      the machines; \"count\": 8 stands for eight equal ones\n"
      "  nodes[].gpus       names of configs/profiles (calibrated) or configs/gpus (data sheets)\n"
      "  nodes[].intra_node the link between two GPUs of the machine\n"
      "  cluster.network    the link of each machine to the network\n"
      "  training           the model, the data, the batch and how gradients are reduced\n"
      "Editors complete and check the file by its \"$schema\". All keys: docs/formats.md.\n");
  const std::string file = arguments.file.string();
  if (has_gpus(nodes)) {
    fmt::print("\nNext: vitsim predict {}\n", file);
  } else {
    fmt::print("\nNext: vitsim validate {} --steps 40\n", file);
  }
}

int run_init(const InitArguments& arguments) {
  std::error_code error;
  if (fs::exists(fs::symlink_status(arguments.file, error))) {
    throw UserError(fmt::format("{}: exists already: name another file", arguments.file.string()));
  }
  const std::vector<Node> nodes = probe(arguments);
  write_file_atomically(arguments.file, cluster_json(nodes).dump(2) + "\n");
  explain(arguments, nodes);
  return 0;
}

}  // namespace

void add_init_command(CLI::App& app, Action& action) {
  auto* command =
      app.add_subcommand("init", "Write a cluster file for this machine, or for several hosts");
  auto arguments = std::make_shared<InitArguments>();
  command->add_option("--out", arguments->file, "Cluster file to write; it must not exist")
      ->capture_default_str();
  command->add_option("--hostfile", arguments->hostfile, "Machines to describe, as for mpirun")
      ->type_name("FILE");
  command
      ->add_option("--remote-shell",
                   arguments->remote_shell,
                   "Command that runs a command on a host of the host file")
      ->type_name("COMMAND")
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  vitsim init --out lab.json\n"
      "  vitsim init --hostfile hosts --out lab.json");
  command->callback(
      [arguments, &action] { action = [arguments] { return run_init(*arguments); }; });
}

}  // namespace vitsim
