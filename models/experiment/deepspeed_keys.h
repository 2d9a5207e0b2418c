#pragma once

#include <array>
#include <string_view>

namespace vitsim {

/// Top-level keys that change nothing that is modelled: printing, monitoring.
inline constexpr std::array<std::string_view, 13> kSilentKeys = {"steps_per_print",
                                                                 "wall_clock_breakdown",
                                                                 "memory_breakdown",
                                                                 "dump_state",
                                                                 "log_level",
                                                                 "tensorboard",
                                                                 "wandb",
                                                                 "comet",
                                                                 "csv_monitor",
                                                                 "comms_logger",
                                                                 "zero_allow_untested_optimizer",
                                                                 "zero_force_ds_cpu_optimizer",
                                                                 "disable_allgather"};

/// Top-level keys that DeepSpeed 0.19 knows and that are not modelled here.
inline constexpr std::array<std::string_view, 34> kNotModelledKeys = {
    "prescale_gradients",
    "gradient_predivide_factor",
    "gradient_allreduce_op",
    "sparse_gradients",
    "communication_data_type",
    "seq_parallel_communication_data_type",
    "amp",
    "torch_autocast",
    "activation_checkpointing",
    "aio",
    "autotuning",
    "checkpoint",
    "compile",
    "compression_training",
    "curriculum_learning",
    "data_efficiency",
    "data_types",
    "dataloader_drop_last",
    "eigenvalue",
    "elasticity",
    "flops_profiler",
    "graph_harvesting",
    "hybrid_engine",
    "nebula",
    "pipeline",
    "progressive_layer_drop",
    "quantize_training",
    "sequence_parallel_size",
    "sparse_attention",
    "tensor_parallel",
    "timers",
    "use_data_before_expert_parallelism",
    "vocabulary_size",
    "zenflow"};

/// Keys of "zero_optimization" besides "stage"; at stage 0 DeepSpeed gives them no effect.
inline constexpr std::array<std::string_view, 28> kZeroKeys = {
    "contiguous_gradients",
    "reduce_scatter",
    "reduce_bucket_size",
    "allgather_partitions",
    "allgather_bucket_size",
    "overlap_comm",
    "load_from_fp32_weights",
    "elastic_checkpoint",
    "offload_param",
    "offload_optimizer",
    "cpu_offload",
    "sub_group_size",
    "stage3_max_live_parameters",
    "stage3_max_reuse_distance",
    "stage3_prefetch_bucket_size",
    "stage3_param_persistence_threshold",
    "stage3_model_persistence_threshold",
    "stage3_gather_16bit_weights_on_model_save",
    "ignore_unused_parameters",
    "legacy_stage1",
    "round_robin_gradients",
    "zero_hpz_partition_size",
    "zero_quantized_weights",
    "zero_quantized_gradients",
    "mics_shard_size",
    "mics_hierarchical_params_gather",
    "memory_efficient_linear",
    "use_multi_rank_bucket_allreduce"};

/// Those of them that change no time: DeepSpeed's defaults, checkpoints.
inline constexpr std::array<std::string_view, 8> kSilentZeroKeys = {
    "reduce_scatter",
    "allgather_partitions",
    "sub_group_size",
    "load_from_fp32_weights",
    "elastic_checkpoint",
    "ignore_unused_parameters",
    "round_robin_gradients",
    "stage3_gather_16bit_weights_on_model_save"};

}  // namespace vitsim
