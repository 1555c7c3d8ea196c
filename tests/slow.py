"""Which tests ``make test`` leaves out, beside those marked ``slow`` where they stand: rows of long tables, and tests of many seconds."""

EVERY = {
    "test_architectures.py::test_a_small_member_learns_a_batch": 3,
    "test_architectures.py::test_convolve_is_the_convolution_of_lax_in_value_and_gradients": 3,
    "test_architectures.py::test_operations_of_all_leaves": 3,
    "test_architectures.py::test_parameter_counts_are_those_of_the_references": 3,
    "test_architectures.py::test_stages_have_the_published_size_channels_and_length": 2,
    "test_bad_input.py::test_a_command_with_bad_input_ends_with_that_line": 4,
    "test_bad_input.py::test_bad_input_is_refused_with_a_line_that_names_it": 6,
    "test_chunks.py::test_a_forecast_by_pieces_is_the_forecast": 3,
    "test_chunks.py::test_a_leaf_split_over_devices_along_any_axis_needs_no_communication": 3,
    "test_chunks.py::test_axes_of_an_explicit_mesh_are_kept": 3,
    "test_data_models.py::test_a_small_architecture_learns": 3,
    "test_data_models.py::test_width_makes_a_network_narrower": 4,
    "test_docs.py::test_every_command_in_the_documents_composes": 3,
    "test_docs.py::test_every_python_example_of_a_page_runs": 3,
    "test_docs.py::test_the_arms_of_an_experiment_go_together": 3,
    "test_docs.py::test_the_command_of_a_result_is_that_of_its_arms": 6,
    "test_docs.py::test_the_readme_says_how_many_runs_and_epochs_an_experiment_is": 3,
    "test_forecasters.py::test_every_simple_forecaster_leaves_weights_that_stand_still_and_is_finite": 3,
    "test_guard.py::test_a_guard_that_waits_keeps_moments_that_grow_finer_in_their_first_step": 2,
    "test_jumps_reference.py::test_a_run_is_what_the_rules_say": 2,
    "test_keras.py::test_after_five_snapshots_the_weights_are_their_forecast": 2,
    "test_leaf_kinds.py::test_every_forecaster_takes_strict_promotion": 4,
    "test_leaf_kinds.py::test_with_strict_promotion_of_dtypes": 3,
    "test_loop.py::test_a_rate_of_1_changes_nothing_and_the_others_are_factors": 2,
    "test_moments.py::test_moments_of_optaxs_optimizers": 4,
    "test_ops.py::test_every_architecture_of_ours_is_labelled_without_a_guess": 3,
    "test_options.py::test_a_run_that_is_saved_anywhere_goes_on_as_if_it_were_not": 2,
    "test_split.py::test_with_the_axis_named_a_sharded_run_is_the_unsharded_one": 2,
    "test_stepper.py::test_nor_do_the_pauses_of_several_runs": 2,
    "test_streaming.py::test_a_run_and_its_measures_are_those_in_memory_and_go_on_within_an_epoch": 2,
    "test_transform.py::test_a_jump_lands_on_the_forecast_of_the_window": 3,
    "test_transform.py::test_before_the_first_jump_it_is_the_inner_optimizer": 3,
    "test_transform.py::test_the_state_is_final_from_init_and_nothing_compiles_twice": 3,
}
"""Of these tests' rows the first of every so many is fast, the others are slow."""

WHOLE = {
    "test_batch_stats.py::test_recording_them_changes_nothing_else_and_makes_another_run",
    "test_batch_stats.py::test_together_they_are_the_same",
    "test_collect_stopped.py::test_killed_and_started_again_it_gives_the_same_corpus",
    "test_collect_stopped.py::test_terminated_it_stops_in_good_order_and_goes_on",
    "test_comparison.py::test_together_arms_are_the_same_as_apart",
    "test_data_tfds.py::test_a_set_has_the_published_labels_and_the_images_that_tfds_reads",
    "test_data_tfds.py::test_the_second_time_maps_what_the_first_decoded",
    "test_docs.py::test_the_forecaster_that_the_documents_show_is_fitted_and_loaded",
    "test_environment.py::test_a_command_of_a_notebooks_environment_in_another_encoding_reports",
    "test_fit_stopped.py::test_a_damaged_array_of_a_checkpoint_ends_the_command_with_one_line",
    "test_fit_stopped.py::test_sigterm_stops_in_good_order",
    "test_hindsight.py::test_hindsight_is_the_projection_and_no_mix_of_increments_is_below_it",
    "test_jobs.py::test_the_total_of_a_dry_run_is_the_sum_of_its_jobs",
    "test_leaves.py::test_a_network_that_dies_and_stands_still_leaves_rows_that_can_be_fitted_to",
    "test_leaves.py::test_the_error_of_rows_is_that_of_the_forecast_of_the_weights",
    "test_meta_train.py::test_a_fit_ends_when_no_network_becomes_better_for_long_enough",
    "test_meta_train.py::test_leaves_are_learned_from_their_inner_products",
    "test_own_task.py::test_the_task_of_the_documents_goes_through_all_commands",
    "test_population.py::test_a_network_with_batch_norm_trains_together_too",
    "test_record.py::test_a_band_that_is_too_short_is_refused_and_a_horizon_that_fits_is_named",
    "test_record.py::test_a_forecaster_of_weights_is_fitted_to_a_sample",
    "test_record.py::test_gram_is_fitted_to_inner_products_as_to_the_weights",
    "test_results_page.py::test_the_projects_page_is_up_to_date_and_nothing_lies_beside_it_that_is_not_of_it",
    "test_streaming.py::test_corpora_are_the_same_after_a_kill_and_in_memory",
}
"""These are slow as they are."""


def is_slow(name: str, row: int) -> bool:
    """Whether the row of a test, named ``file.py::test``, is slow; rows count from 0."""
    return name in WHOLE or row % EVERY.get(name, 1) > 0
