# Every verb sets up what it needs. `make demo` and `make test` work on a fresh clone.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
DEMO := results/demo

PAGES := build/docs

.PHONY: setup check fix test demo docs results more-results bench torture device lock clean

setup: $(VENV)/.ready ## make .venv with the nnlab command in it, versions as locked

$(VENV)/.ready: requirements.lock pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "nnlab needs Python 3.11 or newer; name one with make PYTHON=...")'
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --editable .
	touch $@

check: setup ## lint, format and types, without changing anything
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

fix: setup ## mend what the linter can mend
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

test: setup ## all tests, on all cores
	$(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

demo: setup ## train sigmoid 20 deep on real data, draw its figures, judge its expectations
	$(BIN)/nnlab train experiments/vanishing_gradients.yaml --out $(DEMO) --force
	$(BIN)/nnlab check $(DEMO)

docs: setup ## build the pages of docs/ into build/docs, where a warning is an error
	$(BIN)/python -m sphinx -q -W --keep-going -n docs $(PAGES)
	@echo "$(PAGES)/index.html"

TRAIN = for name in $(1); do $(BIN)/nnlab train experiments/$$name.yaml --out results/$$name --no-plots || exit 1; done
SWEEP = for name in $(1); do $(BIN)/nnlab sweep experiments/$$name.yaml --out results/$$name --no-plots || exit 1; done
FIGURE = $(BIN)/nnlab plot $(addprefix results/,$(1)) --out docs/$(2) $(addprefix --figure ,$(3))

CURES := vanishing_gradients vanishing_gradients_skip vanishing_gradients_batch_norm relu_he
GROKKED := grokking_mod31 grokking_mod31_no_decay grokking_progress grokking_transformer
CATALOGUE := practical_defaults naive_defaults overfitting early_stopping learning_rate_range
CHOICES := optimizers ravine l1_l2 cross_validation voting lecun1989_steps
IMAGES := lenet5_fashion_mnist cnn_translation mlp_translation autoencoder_convolutional augmentation
LANDSCAPES := loss_landscape_skip loss_landscape_plain
THROUGH_TIME := rnn_gradient_vanishing rnn_gradient_exploding rnn_gradient_orthogonal
SWEEPS := double_descent_mnist1d double_descent_mnist1d_clean double_descent_polynomial \
  double_descent_random_features double_descent_samples double_descent_epochs bias_variance \
  grokking_weight_decay grokking_training_fraction

results: setup ## train what the headline figures show, judge it, and draw them into docs/; half an hour
	$(call TRAIN,$(CURES) $(GROKKED) $(CATALOGUE) $(IMAGES) $(LANDSCAPES) $(THROUGH_TIME))
	$(call SWEEP,$(SWEEPS) $(CHOICES))
	$(call FIGURE,$(CURES),,depth_profile)
	$(call FIGURE,double_descent_mnist1d double_descent_mnist1d_clean,mnist1d)
	for name in polynomial random_features samples epochs; do \
	  $(BIN)/nnlab plot results/double_descent_$$name --out docs/$$name || exit 1; done
	$(call FIGURE,double_descent_mnist1d double_descent_samples double_descent_epochs,descent,double_descent)
	$(call FIGURE,bias_variance,bias_variance)
	$(call FIGURE,grokking_mod31 grokking_mod31_no_decay,grokking,grokking)
	$(call FIGURE,grokking_progress,grokking,answers progress_measures)
	$(call FIGURE,grokking_transformer,grokking,embedding_spectrum)
	$(call FIGURE,grokking_weight_decay,grokking)
	$(call FIGURE,grokking_training_fraction,grokking/fraction)
	$(call FIGURE,practical_defaults naive_defaults,defaults,training_curves)
	$(call FIGURE,early_stopping overfitting,catalogue,overfitting)
	$(call FIGURE,learning_rate_range,catalogue,learning_rate_range)
	$(call FIGURE,ravine,catalogue,trajectories)
	$(call FIGURE,optimizers,optimizers,comparison)
	$(call FIGURE,l1_l2,l1_l2,comparison)
	$(call FIGURE,cross_validation,catalogue,cross_validation)
	$(call FIGURE,voting,catalogue,voting)
	$(call FIGURE,lecun1989_steps,lecun1989,comparison)
	$(call FIGURE,lenet5_fashion_mnist,images,misclassified filters)
	$(call FIGURE,autoencoder_convolutional,images,reconstructions)
	$(call FIGURE,cnn_translation mlp_translation,images,translation)
	$(call FIGURE,$(LANDSCAPES),inside,loss_landscape)
	$(call FIGURE,loss_landscape_skip,inside,training_path)
	$(call FIGURE,$(THROUGH_TIME),inside,gradient_through_time)

SIGNALS := ordered_phase chaotic_phase
EDGES := edge_of_stability edge_of_stability_adam
FLATTER := edge_of_stability_sam edge_of_stability_sam_small_rate
TEXTS := next_token next_token_gru next_token_memoryless
COLLAPSES := neural_collapse neural_collapse_no_decay
SPECTRA := spectral_bias spectral_bias_fourier
SPEEDS := update_ratios update_ratios_relu
LAZY := lazy_width lazy_width_mean_field
TICKETS := lottery_ticket lottery_ticket_wide
PRUNED := pruning pruning_fine_tuned
SUPERPOSED := superposition superposition_linear
TRIPLE := double_descent_triple double_descent_triple_best_ridge
TRAINED := bias_variance_trained bias_variance_trained_narrow
APPROXIMATIONS := universal_approximation universal_approximation_linear
SAWTEETH := deep_sawtooth deep_sawtooth_two_folds
ZERO_ONE := zero_one_bias_variance zero_one_bias_variance_clean
FORGETTING := forgetting forgetting_replay
PLASTICITY := plasticity plasticity_leaky plasticity_decay
UNLABELLED := unlabelled unlabelled_all_labels
MACHINES := rbm rbm_disconnected
ADVERSARIES := mode_collapse mode_collapse_penalty
CODES := vae vae_collapsed
UNITS := cross_validated_units cross_validated_units_alike
MATCHED := matched_units matched_units_deep
PARITIES := sparse_parity sparse_parity_frozen
FIXED_PARITIES := sparse_parity_fixed sparse_parity_fixed_no_decay

more-results: setup ## the same for the figures of the other phenomena and lecture statements; some twenty minutes
	$(call TRAIN,$(SIGNALS) $(EDGES) $(FLATTER) $(COLLAPSES) $(SPECTRA) $(SPEEDS))
	$(call TRAIN,$(FORGETTING) $(PLASTICITY) $(TEXTS))
	$(BIN)/nnlab train experiments/unlabelled_base.yaml --out results/unlabelled-base --no-plots
	$(call SWEEP,$(UNLABELLED))
	$(call TRAIN,$(MACHINES) $(ADVERSARIES) $(CODES) vae_no_prior gan_digits gan_digits_no_penalty)
	$(call SWEEP,phase_diagram $(LAZY) lazy_scale $(SUPERPOSED) $(TRIPLE) $(TRAINED) memorisation)
	$(call SWEEP,$(TICKETS) $(PRUNED) pruning_few)
	$(call SWEEP,critical_batch schedule_free schedule_free_small_rate $(APPROXIMATIONS) $(SAWTEETH) whitening $(ZERO_ONE) $(UNITS))
	$(call SWEEP,mode_connectivity mode_connectivity_digits $(MATCHED) grokking_muon grokking_muon_equal_decay)
	$(call TRAIN,$(PARITIES) $(FIXED_PARITIES))
	$(call FIGURE,$(SIGNALS),signal,signal_propagation)
	$(call FIGURE,phase_diagram,signal,phase_diagram)
	$(call FIGURE,$(EDGES),sharpness,edge_of_stability)
	$(call FIGURE,edge_of_stability edge_of_stability_sam,sharpness/sam,edge_of_stability)
	$(call FIGURE,$(COLLAPSES),collapse,neural_collapse)
	$(call FIGURE,$(TEXTS),text,next_token)
	$(call FIGURE,$(SPECTRA),spectral,spectral_bias)
	$(call FIGURE,$(LAZY),laziness,laziness)
	$(call FIGURE,lazy_scale,laziness/scale,laziness)
	$(call FIGURE,$(SUPERPOSED),superposition,superposition_by_density)
	$(call FIGURE,superposition,superposition,overlaps_by_density)
	$(call FIGURE,lottery_ticket,pruning,lottery_ticket)
	$(call FIGURE,$(PRUNED),pruning,accuracy_by_weights_left)
	$(call FIGURE,$(TRIPLE),triple,double_descent)
	$(call FIGURE,$(TRAINED),bias_variance)
	$(call FIGURE,memorisation,memorisation)
	$(call FIGURE,$(FORGETTING),tasks,forgetting)
	$(call FIGURE,$(PLASTICITY),tasks,plasticity)
	$(call FIGURE,$(UNLABELLED),unlabelled,comparison)
	$(call FIGURE,critical_batch,training,critical_batch)
	$(call FIGURE,$(SPEEDS),training,update_ratios)
	$(call FIGURE,schedule_free,training/averages,comparison)
	$(call FIGURE,$(APPROXIMATIONS),training,approximation)
	$(call FIGURE,$(SAWTEETH),training/sawtooth,comparison)
	$(call FIGURE,whitening,training/whitening,comparison)
	$(call FIGURE,$(ZERO_ONE),training,zero_one_bias_variance)
	$(call FIGURE,$(UNITS),training,chosen_by_folds)
	$(call FIGURE,mode_connectivity,between,mode_connectivity)
	$(call FIGURE,$(MATCHED),between,matched_units)
	$(call FIGURE,grokking_muon,grokking/muon,comparison)
	$(call FIGURE,grokking_muon_equal_decay,grokking/equal_decay,comparison)
	$(call FIGURE,$(PARITIES),parity,sparse_parity)
	$(call FIGURE,$(FIXED_PARITIES),parity,grokking)
	$(call FIGURE,$(MACHINES),generation,density_estimation)
	$(call FIGURE,rbm,generation/rbm,samples)
	$(call FIGURE,$(ADVERSARIES),generation/ring,samples)
	$(call FIGURE,$(CODES),generation/vae,latent_map)
	$(call FIGURE,gan_digits,generation/digits,samples)

bench: setup ## speed and memory against goals, into docs/performance_table.md; installs PyTorch and Keras into .venv; 25 minutes
	$(BIN)/python -m pip install --quiet --disable-pip-version-check torch==2.13.0 keras==3.15.1 || echo "PyTorch and Keras: not installed, the others go on without them"
	$(BIN)/python benchmarks/run_all.py

torture: setup ## kill, starve, damage and misspell at length, and print the table of what held; an hour
	$(BIN)/python -m pip install --quiet --disable-pip-version-check libfaketime
	$(BIN)/python tests/torture

device: setup ## on a GPU: every experiment, the CPU's numbers, lanes, resumption, bfloat16, and speed beside PyTorch; ten minutes
	$(BIN)/python tests/device

lock: setup ## resolve requirements.lock anew from pyproject.toml
	$(BIN)/python -m pip install --quiet uv
	$(BIN)/uv pip compile pyproject.toml --extra dev --extra docs --universal --python-version 3.11 --no-header --no-annotate --upgrade -o requirements.lock

clean: ## remove .venv and results
	rm -rf $(VENV) results/*/
