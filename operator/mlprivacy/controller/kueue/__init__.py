"""TrainingJobs in the queues of Kueue, and the AdmissionCheck of the privacy budget."""
